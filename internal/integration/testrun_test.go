package integration

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// testRun is what `go test -v` printed of one package on one kernel.
type testRun struct {
	kernel   string
	log      string
	outcomes map[string]string // PASS, FAIL or SKIP, by test; those within others have their whole names
	refusals map[string]string // what the kernel refused, and its answer, by test
}

var (
	outcomeLine = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(`)
	// What a test of flows says when it skips: see refused in flows/lab_test.go.
	refusalLine = regexp.MustCompile(`(\S+) is refused by this kernel: (.*)`)
	packageLine = regexp.MustCompile(`^(?:ok|FAIL|\?) *\t(\S+)\t`)
)

func parseRun(log string) testRun {
	r := testRun{log: log, outcomes: map[string]string{}, refusals: map[string]string{}}
	for line := range strings.Lines(log) {
		if m := outcomeLine.FindStringSubmatch(line); m != nil {
			r.outcomes[m[2]] = m[1]
		}
		if m := refusalLine.FindStringSubmatch(line); m != nil {
			r.refusals[m[1]] = m[2]
		}
	}
	return r
}

// runInLog finds the run of a package in a log of several. A package's name comes after its tests.
func runInLog(log, name string) (testRun, error) {
	var part strings.Builder
	for line := range strings.Lines(log) {
		part.WriteString(line)
		if m := packageLine.FindStringSubmatch(line); m != nil {
			if m[1] != name {
				part.Reset()
				continue
			}
			if run := parseRun(part.String()); len(run.outcomes) > 0 {
				return run, nil
			}
			break
		}
	}
	return testRun{}, fmt.Errorf("it shows no tests of %s", name)
}

// refused returns the tests that were skipped because the kernel refuses something.
func (r testRun) refused() []string {
	return slices.Sorted(maps.Keys(r.refusals))
}

// unexplained returns the tests that were skipped for another reason.
func (r testRun) unexplained() (names []string) {
	for name, outcome := range r.outcomes {
		if _, explained := r.refusals[name]; outcome == "SKIP" && !explained {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// withoutPass returns which of some tests did not pass.
func (r testRun) withoutPass(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return r.outcomes[name] == "PASS" })
}

// patternOf matches tests by name, with all tests within them.
func patternOf(names []string) string {
	var outer []string
	for _, name := range names {
		first, _, _ := strings.Cut(name, "/")
		outer = append(outer, first)
	}
	slices.Sort(outer)
	return "^(" + strings.Join(slices.Compact(outer), "|") + ")$"
}

// tableOf has a line for each test, and for each that a kernel refused, and a column for each kernel.
func tableOf(names []string, runs []testRun) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, r := range runs {
		names = append(names, r.refused()...)
		fmt.Fprint(w, r.kernel, "\t")
	}
	fmt.Fprintln(w, "test")
	names = slices.Clone(names)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		for _, r := range runs {
			outcome := "-"
			if _, ran := r.outcomes[name]; ran {
				outcome = strings.ToLower(r.outcomes[name])
			}
			if _, refused := r.refusals[name]; refused {
				outcome = "refused"
			}
			fmt.Fprint(w, outcome, "\t")
		}
		fmt.Fprintln(w, name)
	}
	w.Flush()
	return text.String()
}

const someLog = `=== RUN   TestA
--- PASS: TestA (0.00s)
PASS
ok  	socktally/dns	0.1s
?   	socktally/none	[no test files]
=== RUN   TestA
--- PASS: TestA (0.01s)
=== RUN   TestB
    lab_test.go:1: TestB is refused by this kernel: walk (iter/x): operation not permitted
--- SKIP: TestB (0.00s)
=== RUN   TestC
=== RUN   TestC/one
=== RUN   TestC/two
    lab_test.go:1: TestC/two is refused by this kernel: esp4: protocol not supported
--- PASS: TestC (0.00s)
    --- PASS: TestC/one (0.00s)
    --- SKIP: TestC/two (0.00s)
=== RUN   TestD
    lab_test.go:1: needs root
--- SKIP: TestD (0.00s)
PASS
ok  	socktally/flows	0.1s
=== RUN   TestE
--- FAIL: TestE (0.00s)
FAIL
FAIL	socktally/store	0.1s
`

// TestRefusedTestsAreFound holds the reading of logs to one that is known.
func TestRefusedTestsAreFound(t *testing.T) {
	own, err := runInLog(someLog, "socktally/flows")
	if err != nil {
		t.Fatal(err)
	}
	if got := own.refused(); !slices.Equal(got, []string{"TestB", "TestC/two"}) || own.refusals["TestB"] != "walk (iter/x): operation not permitted" {
		t.Errorf("refused: %v", own.refusals)
	}
	if got := own.unexplained(); !slices.Equal(got, []string{"TestD"}) {
		t.Errorf("skipped without a reason: %v", got)
	}
	if len(own.outcomes) != 6 {
		t.Errorf("outcomes: %v", own.outcomes)
	}
	for _, absent := range []string{"socktally/none", "socktally/flow"} {
		if run, err := runInLog(someLog, absent); err == nil {
			t.Errorf("%s: %v", absent, run.outcomes)
		}
	}
	elsewhere := parseRun("--- PASS: TestB (1.00s)\n--- PASS: TestC (1.00s)\n    --- SKIP: TestC/two (0.00s)\n")
	if got := elsewhere.withoutPass(own.refused()); !slices.Equal(got, []string{"TestC/two"}) {
		t.Errorf("still without a pass: %v", got)
	}
	if got := patternOf([]string{"TestC/two", "TestB", "TestC"}); got != "^(TestB|TestC)$" {
		t.Errorf("the pattern is %s", got)
	}
	elsewhere.kernel, own.kernel = "6.12", "own"
	const want = `own      6.12  test
pass     -     TestA
refused  pass  TestB
pass     pass  TestC
refused  skip  TestC/two
skip     -     TestD
`
	if got := tableOf([]string{"TestA", "TestB", "TestC", "TestD"}, []testRun{own, elsewhere}); got != want {
		t.Errorf("the table is\n%s", got)
	}
}
