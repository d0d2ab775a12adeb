package collector

import (
	"fmt"
	"strings"
	"testing"

	"socktally/metric"
)

func TestPortsLessReserved(t *testing.T) {
	var many strings.Builder // more text than fits into one read of the usual size
	for port := 10001; port < 40001; port += 2 {
		fmt.Fprintf(&many, "%d,", port)
	}
	tests := []struct {
		name, list string
		want       float64
	}{
		{"none", "\n", 28232},
		{"one inside", "40000\n", 28231},
		{"one outside", "8080\n", 28232},
		{"what Kubernetes keeps for NodePort, which begins below", "30000-32767\n", 28232},
		{"a range over the lower end", "32000-32999\n", 28000},
		{"a range over the upper end", "60000-65535\n", 27232},
		{"the ends", "32768,60999\n", 28230},
		{"all but two", "1-50000,50003-65535\n", 2},
		{"all", "1-65535\n", 0},
		{"a long list", many.String() + "60000\n", 28232 - 3617},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(t, newTree().with(reservedFile, test.list), metric.Host)
			if err != nil {
				t.Error(err)
			}
			want := wholeReading()
			want["sockstat.ports.range"] = test.want
			compare(t, got, want)
		})
	}
}

// TestReservedPortsOddWord sends no number rather than a wrong one.
func TestReservedPortsOddWord(t *testing.T) {
	for _, list := range []string{"all\n", "1-\n", "5,70000\n", "-5\n"} {
		got, err := read(t, newTree().with(reservedFile, list), metric.Host)
		if err == nil || !strings.Contains(err.Error(), reservedFile) {
			t.Errorf("%q: got the error %v", list, err)
		}
		want := wholeReading()
		delete(want, "sockstat.ports.range")
		compare(t, got, want)
	}
}
