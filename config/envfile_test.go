package config

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseEnvFile(t *testing.T) {
	tests := []struct {
		name, text string
		want       map[string]string
	}{
		{"empty", "", map[string]string{}},
		{"comments and blank lines", "# one\n\n  # two\n \t\n", map[string]string{}},
		{"plain", "A=1\nB_2=two words\n", map[string]string{"A": "1", "B_2": "two words"}},
		{"no newline at the end", "A=1", map[string]string{"A": "1"}},
		{"Windows", "\ufeffA=1\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"}},
		{"export", "export A=1\nexport\tB=2\nexported=3\nexport=4", map[string]string{"A": "1", "B": "2", "exported": "3", "export": "4"}},
		{"spaces", "  A = 1 \t\n", map[string]string{"A": "1"}},
		{"no value", "A=\nB=''\nC=\"\"\nD= # none", map[string]string{"A": "", "B": "", "C": "", "D": ""}},
		{"= in the value", "A=b=c=", map[string]string{"A": "b=c="}},
		{"the last one counts", "A=1\nA=2", map[string]string{"A": "2"}},
		{"comment after a value", "A=1 # one\nB=2\t#two\nC=tag:é # é", map[string]string{"A": "1", "B": "2", "C": "tag:é"}},
		{"# inside of a value", "A=key#1\nB=http://h/#x#", map[string]string{"A": "key#1", "B": "http://h/#x#"}},
		{"single quotes", `A='a "b" \n $c # d' # e`, map[string]string{"A": `a "b" \n $c # d`}},
		{"double quotes and a comment", `A=" a 'b' # c \"d\" \\ é" # e`, map[string]string{"A": ` a 'b' # c "d" \ é`}},
		{"quote inside of a value", `A=it's`, map[string]string{"A": `it's`}},
		{"cron", `SOCKTALLY_SCHEDULE=*/15 * * * * *`, map[string]string{"SOCKTALLY_SCHEDULE": "*/15 * * * * *"}},
		{"long", "A=" + strings.Repeat("x", 100_000), map[string]string{"A": strings.Repeat("x", 100_000)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseEnvFile(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestParseEnvFileFaults(t *testing.T) {
	const name = "want NAME=value with letters, digits and _ in the name, and no digit first"
	const escape = `in double quotes \ stands only before \ and "; use single quotes to keep it as it is`
	tests := []struct{ name, text, want string }{
		{"no =", "A=1\n\n# c\nsecret", "line 4: want NAME=value, found no ="},
		{"no name", "=secret", "line 1: " + name},
		{"digit first", "1A=secret", "line 1: " + name},
		{"colon", "DD_API_KEY: secret=", "line 1: " + name},
		{"export alone", "export =secret", "line 1: " + name},
		{"open double quote", `A="secret`, `line 1: the value of A: the " is not closed`},
		{"open single quote", "B=1\nA='secret\n'", `line 2: the value of A: the ' is not closed`},
		{"text after quotes", `A="secret" secret`, `line 1: the value of A: only a comment may follow the closing "`},
		{"comment without a space", `A='secret'#c`, `line 1: the value of A: only a comment may follow the closing '`},
		{"unknown escape", `A="secret\n"`, "line 1: the value of A: " + escape},
		{"escape at the end", `A="secret\`, "line 1: the value of A: " + escape},
		{"zero byte", "A=secret\x00", "line 1: the value of A: holds a control character"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseEnvFile(test.text)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestEnvironmentWinsOverEnvFile(t *testing.T) {
	env := Environment{"DD_SERVICE": "given", "DD_ENV": ""}
	file, err := ReadEnvFile(writeFile(t, "DD_SERVICE=file\nDD_ENV=file\nSOCKTALLY_TEST_OTHER='x y'\n"), true)
	if err != nil {
		t.Fatal(err)
	}
	added := env.Complete(file)
	if want := (Environment{"DD_ENV": "file", "SOCKTALLY_TEST_OTHER": "x y"}); !maps.Equal(added, want) {
		t.Errorf("added %q, want %q", added, want)
	}
	for name, want := range map[string]string{
		"DD_SERVICE":           "given", // the process wins
		"DD_ENV":               "file",  // it is empty in the process, which counts as not given
		"SOCKTALLY_TEST_OTHER": "x y",
	} {
		if got, found := env.Lookup(name); !found || got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
}

func TestReadEnvFileFaults(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent.env")
	if env, err := ReadEnvFile(absent, false); err != nil || len(env) > 0 {
		t.Errorf("a file that may be missing: %v, %v", env, err)
	}
	bad := writeFile(t, "DD_ENV=file\nnonsense\n")
	tests := []struct{ name, path, want string }{
		{"missing", absent, "read env file: open " + absent + ": no such file or directory"},
		{"a directory", dir, "read env file: read " + dir + ": is a directory"},
		{"malformed", bad, "read env file " + bad + ": line 2: want NAME=value, found no ="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			env, err := ReadEnvFile(test.path, true)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if len(env) > 0 {
				t.Errorf("a file with a fault has %q", env)
			}
		})
	}
}

func TestReadEnvFileWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("no mode of a file stops root")
	}
	path := writeFile(t, "DD_ENV=file\n")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err := ReadEnvFile(path, false)
	if want := "read env file: open " + path + ": permission denied"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// FuzzParseEnvFile checks that everything that is accepted can be set in an environment.
func FuzzParseEnvFile(f *testing.F) {
	for _, text := range []string{
		"", "A=1\nB='2' # c\nC=\"\\\"3\\\\\"\n", "export A = b", "A", "=", "A=\x00", "A=\"\\u0000\"", "A='", "A=\"\\",
		"\ufeffA=1\r\n", "A=é # é", "A=1#2 #3", "1=2", "A=''#", "export export=1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		vars, err := parseEnvFile(text)
		if err != nil && !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("error without a line: %v", err)
		}
		for name, value := range vars {
			if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsAny(value, "\x00\n") {
				t.Errorf("%q=%q", name, value)
			}
			if !strings.Contains(text, name) {
				t.Errorf("the name %q is not in the text", name)
			}
		}
	})
}

// writeFile writes an env file.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socktally.env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
