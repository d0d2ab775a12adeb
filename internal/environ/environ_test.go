package environ

import (
	"os"
	"testing"
)

func TestSet(t *testing.T) {
	t.Setenv("SOCKTALLY_TEST_GIVEN", "before")
	const absent = "SOCKTALLY_TEST_ABSENT"
	restore, err := Set(map[string]string{"SOCKTALLY_TEST_GIVEN": "", absent: "now"})
	if err != nil {
		t.Fatal(err)
	}
	if given, set := os.Getenv("SOCKTALLY_TEST_GIVEN"), os.Getenv(absent); given != "" || set != "now" {
		t.Errorf("got %q and %q", given, set)
	}
	check := func() {
		t.Helper()
		if given := os.Getenv("SOCKTALLY_TEST_GIVEN"); given != "before" {
			t.Errorf("got %q, want what was there before", given)
		}
		if _, found := os.LookupEnv(absent); found {
			t.Errorf("%s is still there", absent)
		}
	}
	restore()
	check()
	if _, err := Set(map[string]string{"SOCKTALLY_TEST_GIVEN": "x", absent: "x", "a=b": "x"}); err == nil {
		t.Error("a name with = was set")
	}
	check()
}
