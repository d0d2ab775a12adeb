package config

import "testing"

func TestOwnEnvironment(t *testing.T) {
	for name, value := range map[string]string{"DD_SERVICE": " a=b ", "SOCKTALLY_TAGS": "", "SOCKTALLY_TEST_OTHER": "x"} {
		t.Setenv(name, value)
	}
	env, err := ProcessEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	if env["DD_SERVICE"] != " a=b " || env["SOCKTALLY_TAGS"] != "" || env["SOCKTALLY_TEST_OTHER"] != "x" {
		t.Errorf("got %q, %q, %q", env["DD_SERVICE"], env["SOCKTALLY_TAGS"], env["SOCKTALLY_TEST_OTHER"])
	}
}
