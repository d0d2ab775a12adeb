package metric_test

import (
	"fmt"

	"socktally/metric"
)

func Example() {
	definition, known := metric.Lookup("sockstat.tcp.mem")
	fmt.Println(known, definition.Kind, definition.Unit, definition.Scope)

	sample := metric.Sample{
		Name: definition.Name, Kind: definition.Kind, Value: 88,
		Tags: []string{string(metric.AppendTag(nil, "env", "Blue & Green"))},
	}
	fmt.Println(metric.AllTags([]string{"env:prod", "team:net"}, sample))

	fmt.Println(metric.CheckTag("team:net"))
	fmt.Println(metric.CheckTag("team:net|ops"))
	// Output:
	// true gauge kibibyte host
	// [team:net env:blue_green]
	// <nil>
	// holds '|'
}
