package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"socktally/config"
	"socktally/metric"
)

// TestFilesAreUpToDate checks that the generated files in the repository fit the code.
func TestFilesAreUpToDate(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Errorf("%v: run make generate", err)
		} else if string(got) != want {
			t.Errorf("%s is not what the code says: run make generate", name)
		}
	}
}

func TestMetadataCSV(t *testing.T) {
	text, err := metadataCSV()
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if head := "metric_name,metric_type,interval,unit_name,per_unit_name,description,orientation,integration,short_name,curated_metric\n"; !strings.HasPrefix(text, head) {
		t.Errorf("the head is not %s", head)
	}
	if len(records) != 1+len(metric.Catalogue()) {
		t.Errorf("%d records for %d metrics", len(records), len(metric.Catalogue()))
	}
	if want := "sockstat.tcp.mem,gauge,,kibibyte,,\"Memory that"; !strings.Contains(text, want) {
		t.Errorf("no record begins with %s", want)
	}
}

func TestGenerate(t *testing.T) {
	root := t.TempDir()
	if err := generate(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "README.md")); err == nil {
		t.Error("a README.md was made up")
	}

	readme := filepath.Join(root, "README.md")
	text := "a\n<!-- variables -->\nold\n<!-- /variables -->\nb\n<!-- metrics -->\n<!-- /metrics -->\nc\n"
	if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var made [2]string
	for i := range made { // the second time changes nothing
		if err := generate(root); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(readme)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = string(got)
	}
	if made[0] != made[1] {
		t.Errorf("first\n%s\nthen\n%s", made[0], made[1])
	}
	for _, part := range []string{"a\n<!-- variables -->\n\n| variable |", "<!-- /variables -->\nb\n<!-- metrics -->\n\n| metric |", "<!-- /metrics -->\nc\n"} {
		if !strings.Contains(made[0], part) {
			t.Errorf("no %q in\n%s", part, made[0])
		}
	}
	for _, v := range config.Variables() {
		if !strings.Contains(made[0], "| `"+v.Name+"` |") {
			t.Errorf("%s is missing", v.Name)
		}
	}
	for _, d := range metric.Catalogue() {
		if !strings.Contains(made[0], "| `"+d.Name+"` |") {
			t.Errorf("%s is missing", d.Name)
		}
	}
}

func TestReplaceBetween(t *testing.T) {
	const open, end = "<!-- m -->\n", "<!-- /m -->"
	tests := []struct {
		name, text, want string // want "" for an error
	}{
		{"no markers", "text\n", "text\n"},
		{"both", "a\n" + open + "old\n" + end + "\nb", "a\n" + open + "\nnew\n" + end + "\nb"},
		{"no end", "a\n" + open + "b", ""},
		{"no beginning", "a\n" + end + "b", ""},
		{"wrong order", end + "\n" + open, ""},
		{"twice", open + end + "\n" + open + end, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := replaceBetween(test.text, "m", "new")
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
