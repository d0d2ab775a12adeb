package spool_test

import (
	"fmt"
	"os"
	"time"

	"socktally/forward/spool"
	"socktally/metric"
)

func Example() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	now := time.Now()
	s := spool.New(dir, spool.Limits{MaxBytes: 1 << 20, MaxAge: time.Hour}, func() time.Time { return now })
	for minute := range 3 { // the first is too old at the replay
		at := now.Add(time.Duration(minute) * time.Minute)
		if _, err := s.Put([]metric.Sample{{Name: "sockstat.tcp.inuse", Value: float64(minute), Time: at}}); err != nil {
			fmt.Println(err)
		}
	}
	now = now.Add(time.Hour + time.Second)
	dropped, err := s.Replay(100, func(samples []metric.Sample) (rest []metric.Sample, more bool) {
		for _, m := range samples {
			fmt.Println(m.Name, m.Value)
		}
		return nil, true // all are delivered
	})
	fmt.Println(dropped.Expired, "expired", err)
	// Output:
	// sockstat.tcp.inuse 1
	// sockstat.tcp.inuse 2
	// 1 expired <nil>
}
