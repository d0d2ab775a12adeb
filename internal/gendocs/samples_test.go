package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"socktally/config"
)

// TestSampleSettings removes the comment sign of every line in the sample: all defaults together are valid.
func TestSampleSettings(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([A-Z_]+=)`).ReplaceAllString(envFile(), "$1")
	path := filepath.Join(t.TempDir(), "socktally.env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env, err := config.ReadEnvFile(path, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range config.Variables() {
		if got, _ := env.Lookup(v.Name); got != v.Default {
			t.Errorf("%s is %q, want %q", v.Name, got, v.Default)
		}
	}
	// Host and port conflict with DD_DOGSTATSD_URL only if that is set.
	cfg, err := config.Load(env.Lookup)
	if err != nil {
		t.Error(err)
	}
	if warnings := append(cfg.Warnings, env.Warnings()...); len(warnings) > 0 {
		t.Error(warnings)
	}
}

// TestSamplesNameVariables checks that the shipped files only have variables that exist.
func TestSamplesNameVariables(t *testing.T) {
	known := map[string]bool{
		"SOCKTALLY_IMAGE":       true, // of compose itself
		"SOCKTALLY_ACTIVE_HELP": true, // of the completions
	}
	for _, v := range config.Variables() {
		known[v.Name] = true
	}
	name := regexp.MustCompile(`\b(SOCKTALLY|DD)_[A-Z_]+[A-Z]`)
	err := filepath.WalkDir(filepath.Join("..", "..", "packaging"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range name.FindAllString(string(text), -1) {
			if !known[found] {
				t.Errorf("%s names %s, which no one reads", path, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestManPage checks that the man page has all parts, and that no line of text is taken for a request.
func TestManPage(t *testing.T) {
	files := map[string]string{}
	if err := renderCommands(files); err != nil {
		t.Fatal(err)
	}
	page := files["packaging/man/socktally.1"]
	for _, want := range []string{".SS socktally run\n", ".SS socktally once\n", ".SS socktally doctor\n", ".B SOCKTALLY_SCHEDULE\n", ".BI \\-\\-env\\-file \" string\"\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("the man page lacks %q", want)
		}
	}
	if got := roff(".a\n'b\nc-d\\e"); got != "\\&.a\n\\&'b\nc\\-d\\ee" {
		t.Errorf("got %q", got)
	}
}
