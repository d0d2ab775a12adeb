package dogstatsd

import (
	"os"
	"strings"
	"testing"
)

func FuzzParseUDP(f *testing.F) {
	f.Add("  sl  local_address\n 3014: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 15212 2 0000000000000000 7\n")
	f.Add("  sl\n 3014: 00000000000000000000000001000000:1FBD 0 07 0:0 00:0 0 0 0 15212 2 0 0\n")
	f.Add("\n x")
	f.Fuzz(func(t *testing.T, text string) {
		sockets, err := parseUDP(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, s := range sockets {
			if !s.local.Addr().IsValid() {
				t.Errorf("%+v has no address", s)
			}
		}
	})
}

func TestParseUDP(t *testing.T) {
	text, err := os.ReadFile("/proc/self/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseUDP(strings.NewReader(string(text))); err != nil {
		t.Errorf("this machine's own: %v", err)
	}
	if _, err := parseUDP(strings.NewReader("heading\n 1: 0100007F:1FBD 0 07\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line that is cut: %v", err)
	}
}
