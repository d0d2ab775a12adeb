package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"socktally/api/answer"
	"socktally/config"
)

// defaultAPI is the default address of the API.
const defaultAPI = "127.0.0.1:8127"

// queryTimeout is a little more than the API's own timeout for a query.
const queryTimeout = 2 * time.Minute

// queryOptions are the flags of the commands that ask the API.
type queryOptions struct {
	cmd                                                     *cobra.Command
	envFile, addr, from, to, groupBy, filter, tags, version string
	limit                                                   int32
	json                                                    bool
}

// flags adds the flags to cmd.
func (o *queryOptions) flags(cmd *cobra.Command, groupBy string) {
	o.cmd = cmd
	f := cmd.Flags()
	f.StringVar(&o.envFile, "env-file", config.DefaultEnvFile, "file of NAME=value lines; the environment wins over it")
	f.StringVar(&o.addr, "addr", "", "host:port, unix:///path, or http:// or https:// URL of the API (default SOCKTALLY_LISTEN, else "+defaultAPI+")")
	f.StringVar(&o.from, "from", "", `begin of the window: "15m ago", Unix seconds or RFC 3339 (default 15 minutes before its end)`)
	f.StringVar(&o.to, "to", "", "end of the window (default now)")
	f.StringVar(&o.groupBy, "group-by", groupBy, "comma list of names")
	f.StringVar(&o.filter, "filter", "", `such as 'client_service:web AND NOT server_port:(80 OR 443)' or 'CIDR(network.server.ip, 10.0.0.0/8)'`)
	f.StringVar(&o.tags, "tags", "", "comma list of name:value, of which value may end in *")
	f.Int32Var(&o.limit, "limit", 100, "rows at most, up to 7500")
	f.BoolVar(&o.json, "json", false, "the answer as the API gives it instead of a table")
}

// parameters are the parameters of a request.
func (o *queryOptions) parameters() (url.Values, error) {
	p := url.Values{"limit": {strconv.FormatInt(int64(o.limit), 10)}}
	now := time.Now()
	for _, t := range []struct{ name, text string }{{"from", o.from}, {"to", o.to}} {
		if t.text == "" {
			continue
		}
		seconds, err := parseWhen(t.text, now)
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s %q: %w", t.name, t.text, err)}
		}
		p.Set(t.name, strconv.FormatInt(seconds, 10))
	}
	for name, text := range map[string]string{"group_by": o.groupBy, "query": o.filter, "tags": o.tags} {
		if text != "" {
			p.Set(name, text)
		}
	}
	return p, nil
}

// api is the address of the API and the key for it.
type api struct {
	base   string // its URL, without a slash at the end
	key    string
	client *http.Client
}

// api finds the API that the flags and the environment name.
func (o *queryOptions) api() (api, error) {
	given := o.cmd.Flags().Changed("env-file")
	// The file may have keys, so this user may not be allowed to read it.
	env, err := processEnvironment(o.envFile, given)
	if err != nil && (given || !errors.Is(err, fs.ErrPermission)) {
		return api{}, err
	}
	addr, tls := o.addr, false
	if addr == "" {
		addr, tls = env["SOCKTALLY_LISTEN"], env["SOCKTALLY_TLS_CERT"] != ""
	}
	if addr == "" {
		addr = defaultAPI
	}
	base, socket, err := apiURL(addr, tls)
	if err != nil {
		return api{}, usageError{fmt.Errorf("--addr %q: %w", addr, err)}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	key, _, _ := strings.Cut(env["SOCKTALLY_API_KEYS"], ",")
	return api{base: base, key: strings.TrimSpace(key), client: &http.Client{Transport: transport, Timeout: queryTimeout}}, nil
}

// apiURL makes a URL from an address in the form of SOCKTALLY_LISTEN, or from a URL. socket is the path of a unix socket,
// "" for TCP.
func apiURL(addr string, tls bool) (base, socket string, err error) {
	if strings.HasPrefix(addr, "http://") || strings.HasPrefix(addr, "https://") {
		return strings.TrimRight(addr, "/"), "", nil
	}
	a, loopback, err := config.ParseListen(addr)
	if err != nil {
		return "", "", err
	}
	if a.Network == "unix" {
		return "http://localhost", a.Target, nil
	}
	host, port, err := net.SplitHostPort(a.Target)
	if err != nil {
		return "", "", err
	}
	switch ip, err := netip.ParseAddr(host); {
	case host == "" || err == nil && ip.IsUnspecified(): // a server can listen at all addresses; a client needs one
		host = map[bool]string{true: "::1", false: "127.0.0.1"}[ip.Is6()]
	case err != nil && loopback && !tls: // localhost. With TLS the name stays: the certificate may be for it.
		host = "127.0.0.1"
	}
	scheme := map[bool]string{true: "https://", false: "http://"}[tls]
	return scheme + net.JoinHostPort(host, port), "", nil
}

// ask makes one request, decodes the answer into v, and also returns it as it is. A signal cancels the request.
func (o *queryOptions) ask(path string, v any) ([]byte, error) {
	p, err := o.parameters()
	if err != nil {
		return nil, err
	}
	a, err := o.api()
	if err != nil {
		return nil, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path+"?"+p.Encode(), nil)
	if err != nil {
		return nil, usageError{fmt.Errorf("ask: %w", err)}
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "socktally/"+o.version)
	if a.key != "" {
		request.Header.Set("DD-API-KEY", a.key)
	}
	response, err := a.client.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ask: %w: nothing listens there; socktally run --listen %s does", err, defaultAPI)
	}
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: read the answer: %w", a.base, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, answerError(a.base, response, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("ask %s: the answer is not one of this API: %w", a.base, err)
	}
	return body, nil
}

// answerError is the error of an answer that is not 200 OK.
func answerError(base string, response *http.Response, body []byte) error {
	why := strings.TrimSpace(string(body))
	var refusal answer.Errors
	if json.Unmarshal(body, &refusal) == nil && len(refusal.Errors) > 0 {
		why = strings.Join(refusal.Errors, "\n")
	}
	err := fmt.Errorf("ask %s: %s: %s", base, response.Status, why)
	if response.StatusCode == http.StatusBadRequest {
		return usageError{err}
	}
	return err
}

// writeAnswer writes the rows of an answer as a table. With --json it writes the answer itself in one line.
func writeAnswer[T any](o *queryOptions, stdout, stderr io.Writer, body []byte, rows []T, t table[T]) error {
	if o.json {
		return json.NewEncoder(stdout).Encode(json.RawMessage(body))
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(stderr, "socktally: there is nothing of this kind in this time")
		return err
	}
	for _, line := range t.lines(rows, terminalWidth(stdout)) {
		if _, err := fmt.Fprintln(stdout, line); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}
