package query

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// someTree makes a tree of any shape, with names and values of any kind that it can have. A child of an And or
// an Or may be of the same operator, as one in parentheses is.
func someTree(random *rand.Rand, depth int) Node {
	of := func(all ...string) string { return all[random.IntN(len(all))] }
	shape := random.IntN(7)
	if depth == 0 {
		shape = random.IntN(4)
	}
	switch shape {
	case 0:
		return Equal{of("client_service", "server_team", "protocol", "client_a-b/c.d"), of("web", "N/A", "AND", "a b", `"`, `\`, `a\"`, "*", "a?", "<1", "[1 TO 2]", "(", ",", ":", "-", "\xff", "\x00", "ü", "a:b", " ")}
	case 1:
		return Equal{of("server_port", "client_pid", "network.client.ip", "server_ip"), "N/A"}
	case 2:
		return Like{of("client_service", "server_port", "network.server.ip", "client_team"), of("*", "a*", "?", "a b*", "<*", "[?", `\*`, `"*`, "-*", "*:*", "(*", "ü*", "a,*", "NOT *")}
	case 3:
		n := Within{Name: of("client_ip", "network.server.ip")}
		for range 1 + random.IntN(3) {
			n.Networks = append(n.Networks, netip.MustParsePrefix(of("10.0.0.0/8", "::/0", "2001:db8::/32", "0.0.0.0/0", "192.0.2.1/32")))
		}
		return n
	case 4:
		return Not{someTree(random, depth-1)}
	}
	nodes := make([]Node, 2+random.IntN(3))
	for i := range nodes {
		nodes[i] = someTree(random, depth-1)
	}
	if shape == 5 {
		return And(nodes)
	}
	return Or(nodes)
}

func TestTreesReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	for range 5000 {
		tree := someTree(random, random.IntN(5))
		seen[reflect.TypeOf(tree).Name()]++
		sameWhenWritten(t, Connections, tree)
		if _, err := Connections.Compile(tree); err != nil {
			t.Errorf("%v: %v", tree, err)
		}
	}
	for _, name := range []string{"And", "Or", "Not", "Equal", "Like", "Within"} {
		if seen[name] < 100 {
			t.Errorf("only %d trees of 5000 are %s", seen[name], name)
		}
	}
}

// TestTrees has what texts mean, and how their trees are written.
func TestTrees(t *testing.T) {
	port := func(n string) Node { return Equal{"server_port", n} }
	for text, want := range map[string]struct {
		tree    Node
		written string
	}{
		"server_port:1 OR server_port:2 server_port:3":      {Or{port("1"), And{port("2"), port("3")}}, "server_port:1 OR server_port:2 AND server_port:3"},
		"(server_port:1 OR server_port:2) -server_port:3":   {And{Or{port("1"), port("2")}, Not{port("3")}}, "(server_port:1 OR server_port:2) AND NOT server_port:3"},
		"((server_port:1 server_port:2)) AND server_port:3": {And{And{port("1"), port("2")}, port("3")}, "(server_port:1 AND server_port:2) AND server_port:3"},
		"server_port:(1 OR NOT (2 OR 3))":                   {Or{port("1"), Not{Or{port("2"), port("3")}}}, "server_port:1 OR NOT (server_port:2 OR server_port:3)"},
		"- NOT server_port:1":                               {Not{Not{port("1")}}, "NOT NOT server_port:1"},
		`client_team:"a*" OR client_team:a*`:                {Or{Equal{"client_team", "a*"}, Like{"client_team", "a*"}}, `client_team:"a*" OR client_team:a*`},
		`LIKE(client_team,"a b*")`:                          {Like{"client_team", "a b*"}, `LIKE(client_team, "a b*")`},
		`LIKE(client_team, "a*")`:                           {Like{"client_team", "a*"}, `client_team:a*`},
		`LIKE (client_team, "a b")`:                         {Equal{"client_team", "a b"}, `client_team:"a b"`},
		"CIDR(client_ip, 10.1.2.3/8,::1/128)":               {Within{"client_ip", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}, "CIDR(client_ip, 10.0.0.0/8, ::1/128)"},
	} {
		tree, err := Connections.Parse(text)
		if err != nil || !reflect.DeepEqual(tree, want.tree) || tree.String() != want.written {
			t.Errorf("%s: %#v %v, %v", text, tree, tree, err)
		}
	}
}

// TestTagsAreATree has the list of tags in terms of the language.
func TestTagsAreATree(t *testing.T) {
	for list, want := range map[string]string{
		"client_team:a":     "client_team:a",
		"client_team:a b*":  `LIKE(client_team, "a b*")`,
		"client_team:<a":    `client_team:"<a"`,
		"server_port:1,x:2": "",
		"server_port:1,client_team:a, server_port:2": "(server_port:1 OR server_port:2) AND client_team:a",
		"server_port:1,server_port:2":                "server_port:1 OR server_port:2",
	} {
		tree, err := Connections.ParseTags(list)
		if (err == nil) != (want != "") || err == nil && tree.String() != want {
			t.Errorf("%s: %v, %v", list, tree, err)
		}
	}
}

// TestQuotedRange has what would be a range mean itself in quotation marks.
func TestQuotedRange(t *testing.T) {
	for _, value := range []string{"<1", ">1", "[1"} {
		if tree, err := Connections.Parse(`client_team:"` + value + `"`); err != nil || !reflect.DeepEqual(tree, Equal{"client_team", value}) {
			t.Errorf("%s: %v, %v", value, tree, err)
		}
	}
}

func TestLikeFaults(t *testing.T) {
	for text, want := range map[string]string{
		`LIKE(client_team)`:           "at 5: LIKE of client_team: want one pattern in quotation marks",
		`LIKE(client_team, a*)`:       "LIKE of client_team: want one pattern in quotation marks",
		`LIKE(client_team, "a", "b")`: "LIKE of client_team: want one pattern in quotation marks",
		`LIKE(client_team, "")`:       "at 5: client_team has no value",
		`LIKE(server_port, "x")`:      "at 5: server_port:x is no number",
		`LIKE(x, "a*")`:               `at 5: unknown name "x"`,
		`LIKE(`:                       "at 6: the text ends: want an argument of LIKE",
		`LIKE(client_team "a")`:       "at 18: unexpected",
		`LIKE client_team`:            `at 1: unexpected "LIKE"`,
	} {
		if _, err := Connections.Parse(text); err == nil || !strings.HasPrefix(err.Error(), "at ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
}

// TestCompileChecks compiles trees that nobody has parsed.
func TestCompileChecks(t *testing.T) {
	for _, c := range []struct {
		tree Node
		want string
	}{
		{nil, "compile a filter: no node is a <nil>"},
		{Equal{"x", "y"}, `unknown name "x"`},
		{Like{"network.dns_query", "y"}, `unknown name "network.dns_query"`},
		{Within{"x", nil}, `unknown name "x"`},
		{Within{"protocol", nil}, "CIDR of protocol"},
		{Equal{"server_port", "x"}, "server_port:x is no number"},
		{Equal{"server_ip", "x"}, "server_ip:x is no address"},
		{And{Equal{"protocol", "tcp"}, Or{Not{Equal{"server_port", "x"}}}}, "server_port:x is no number"},
	} {
		if _, err := Connections.Compile(c.tree); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%#v: %v, want %s", c.tree, err, c.want)
		}
	}
}
