package collector

import (
	"maps"
	"strings"
	"testing"

	"socktally/metric"
)

// TestOneOddWord has one fault in a file that is well otherwise: it costs the field that it is in, and is said once.
func TestOneOddWord(t *testing.T) {
	whole := newTree()[sockstatFile]
	tests := []struct {
		name, text string
		lost       []string
		fault      string // the one line of the error, after the path
	}{
		{"a line nobody asks for, cut off", whole + "SMC: inuse\n", nil, `line "SMC: inuse": field inuse: no value`},
		{"a line nobody asks for, no number", whole + "SMC: inuse none alloc 3\n", nil, `line "SMC: inuse none alloc 3": field inuse: strconv.Atoi: parsing "none": invalid syntax`},
		{"a line without a name", "version 2\n" + whole, nil, `line "version 2" has no name with fields`},
		{"a field nobody asks for", strings.Replace(whole, "UDP: ", "UDP: peak high ", 1), nil, `line "UDP: peak high inuse 13 mem 6": field peak: strconv.Atoi: parsing "high": invalid syntax`},
		{
			"a field in the middle", strings.Replace(whole, "tw 16", "tw 1.6", 1), []string{"sockstat.tcp.tw", "sockstat.tcp.tw_ratio"},
			`line "TCP: inuse 40 orphan 8 tw 1.6 alloc 63 mem 22": field tw: strconv.Atoi: parsing "1.6": invalid syntax`,
		},
		{
			"a name without a value", strings.Replace(whole, "mem 6\n", "mem\n", 1), []string{"sockstat.udp.mem", "sockstat.udp.mem_ratio"},
			`line "UDP: inuse 13 mem": field mem: no value`,
		},
		{"a line twice", whole + "RAW: inuse 9\n", nil, `line "RAW: inuse 9": field inuse: a second value`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := wholeReading()
			for _, name := range test.lost {
				delete(want, name)
			}
			got, err := read(t, newTree().with(sockstatFile, test.text), metric.Host)
			compare(t, got, want)
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasSuffix(err.Error(), sockstatFile+": "+test.fault) {
				t.Errorf("got the error\n%v\nwant one line that ends in\n%s", err, test.fault)
			}
		})
	}
}

// TestEachFaultIsSaid has three faults in two lines.
func TestEachFaultIsSaid(t *testing.T) {
	_, err := read(t, newTree().with(sockstatFile, "TCP: inuse a orphan b\nUDP: inuse 1 mem\n"), metric.Host)
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three lines, got: %v", err)
	}
}

// TestAbsentIsNotZero has lines without inuse, of which there is to be no sample.
func TestAbsentIsNotZero(t *testing.T) {
	text := strings.NewReplacer("TCP: inuse 40", "TCP:", "UDP: inuse 13", "UDP:").Replace(newTree()[sockstatFile])
	want := wholeReading()
	maps.DeleteFunc(want, func(name string, _ float64) bool { return name == "sockstat.tcp.inuse" || name == "sockstat.udp.inuse" })
	got, err := read(t, newTree().with(sockstatFile, text), metric.Host)
	if err != nil {
		t.Error(err)
	}
	compare(t, got, want)
}

// TestOnlyFieldsOfSockstat has a field whose name would make that of a metric which the kernel counts elsewhere.
func TestOnlyFieldsOfSockstat(t *testing.T) {
	got, err := read(t, newTree().with(sockstatFile, newTree()[sockstatFile]+"PORTS: range 7\n"), metric.Host)
	if err != nil {
		t.Error(err)
	}
	compare(t, got, wholeReading())
}
