package sinks

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"socktally/config"
)

// TestTableIsThatOfTheSettings checks that this table and that of package config have the same sinks.
func TestTableIsThatOfTheSettings(t *testing.T) {
	var names []string
	for _, s := range All() {
		names = append(names, s.Name)
		if s.Open == nil || s.Probe == nil {
			t.Errorf("%s cannot be opened or not be probed", s.Name)
		}
	}
	if want := config.Sinks(); !slices.Equal(names, want) {
		t.Errorf("the sinks are %q, the settings know %q", names, want)
	}
}

// TestEverySinkOpens opens each sink with only the settings that it must have.
func TestEverySinkOpens(t *testing.T) {
	for _, name := range config.Sinks() {
		env := config.Environment{"SOCKTALLY_FORWARD": name, "DD_API_KEY": "0123"}
		cfg, err := config.Load(env.Lookup)
		if err != nil {
			t.Fatal(err)
		}
		sink, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := sink.Open(cfg, Program{Stdout: &bytes.Buffer{}, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if opened.Name() != name || opened.Receiver() == "" {
			t.Errorf("%s opens %q to %q", name, opened.Name(), opened.Receiver())
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestUnknownSinkIsAnError(t *testing.T) {
	for _, name := range []string{"", "HTTP", "nowhere"} {
		if s, err := Lookup(name); err == nil || s.Open != nil || !strings.Contains(err.Error(), "want one of "+strings.Join(config.Sinks(), ", ")) {
			t.Errorf("%q is %+v, %v", name, s, err)
		}
	}
}
