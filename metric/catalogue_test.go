package metric

import (
	"regexp"
	"testing"
)

func TestCatalogueIsWellFormed(t *testing.T) {
	units := map[string]bool{None: true, Byte: true, Kibibyte: true, Fraction: true, Second: true, Samples: true,
		Packet: true, Segment: true, Connection: true, Request: true, Response: true}
	// Datadog's rule for names: a letter first, then letters, digits, underscores and periods.
	name := regexp.MustCompile(`^[a-z][a-z0-9_.]{0,199}$`)
	seen := map[string]bool{}
	for _, d := range Catalogue() {
		switch {
		case seen[d.Name]:
			t.Errorf("%s is defined twice", d.Name)
		case !name.MatchString(d.Name):
			t.Errorf("%s is not a valid metric name", d.Name)
		case !units[d.Unit]:
			t.Errorf("%s has the unknown unit %q", d.Name, d.Unit)
		case d.Scope != Host && d.Scope != NetNS && d.Scope != Process && d.Scope != Setting:
			t.Errorf("%s has the unknown scope %q", d.Name, d.Scope)
		case d.Orientation < -1 || d.Orientation > 1:
			t.Errorf("%s has the orientation %d", d.Name, d.Orientation)
		case d.Kind.String() != "gauge" && d.Kind.String() != "count":
			t.Errorf("%s has the unknown kind %v", d.Name, d.Kind)
		case d.ShortName == "" || d.Description == "" || d.Description[len(d.Description)-1] != '.':
			t.Errorf("%s lacks a short name or a description that is a sentence", d.Name)
		}
		seen[d.Name] = true
		if got, ok := Lookup(d.Name); !ok || got != d {
			t.Errorf("Lookup(%q) = %v, %v", d.Name, got, ok)
		}
	}
	if _, ok := Lookup("sockstat.tcp.established"); ok {
		t.Error("Lookup found a metric that is not in the catalogue")
	}
}

// TestCatalogueIsTheCallersOwn checks that a caller may change the slice that Catalogue returns.
func TestCatalogueIsTheCallersOwn(t *testing.T) {
	Catalogue()[0].Name = "changed"
	if name := Catalogue()[0].Name; name == "changed" {
		t.Error("the catalogue can be changed from outside")
	}
}
