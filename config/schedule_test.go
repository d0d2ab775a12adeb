package config

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones below, on a machine without them
)

var scheduleNow = time.Date(2026, 3, 4, 5, 6, 7, 800e6, time.UTC) // a Wednesday

func TestParseSchedule(t *testing.T) {
	tests := []struct {
		spec string
		next string // after scheduleNow
	}{
		{"* * * * *", "2026-03-04 05:07:00"},
		{"*/5 * * * *", "2026-03-04 05:10:00"},
		{"0 12 * * *", "2026-03-04 12:00:00"},
		{"0 0 1 jan *", "2027-01-01 00:00:00"},
		{"0 0 * * MON", "2026-03-09 00:00:00"},
		{"0 0 29 2 *", "2028-02-29 00:00:00"},
		{"1,2,30-40/5 * * * ?", "2026-03-04 05:30:00"},
		{"*/15 * * * * *", "2026-03-04 05:06:15"},
		{"8 6 5 4 3 *", "2026-03-04 05:06:08"},
		{"  *\t*  * * *  ", "2026-03-04 05:07:00"},
		{"*\u00a0* * * *", "2026-03-04 05:07:00"}, // pasted from a web page
		{"@hourly", "2026-03-04 06:00:00"},
		{"@daily ", "2026-03-05 00:00:00"},
		{"@midnight", "2026-03-05 00:00:00"},
		{"@weekly", "2026-03-08 00:00:00"},
		{"@monthly", "2026-04-01 00:00:00"},
		{"@yearly", "2027-01-01 00:00:00"},
		{"@every 1s", "2026-03-04 05:06:08"},
		{"@every 15s", "2026-03-04 05:06:22"},
		{"@every   1m30s ", "2026-03-04 05:07:37"},
		{"CRON_TZ=Asia/Tokyo 0 12 * * *", "2026-03-05 03:00:00"},
		{"TZ=Asia/Tokyo 0 12 * * *", "2026-03-05 03:00:00"},
		{" CRON_TZ=UTC\t0 12 * * *", "2026-03-04 12:00:00"},
		{"CRON_TZ=Asia/Tokyo @daily", "2026-03-04 15:00:00"},
		{"CRON_TZ=UTC @every  15s", "2026-03-04 05:06:22"},
		// 02:30 does not exist on 29 March in Berlin.
		{"CRON_TZ=Europe/Berlin 30 2 29 3 *", "2027-03-29 00:30:00"},
	}
	for _, test := range tests {
		t.Run(test.spec, func(t *testing.T) {
			s, err := ParseSchedule(test.spec, scheduleNow)
			if err != nil {
				t.Fatal(err)
			}
			if next := s.Next(scheduleNow).Format(time.DateTime); next != test.next {
				t.Errorf("next is %s, want %s", next, test.next)
			}
		})
	}
}

func TestParseScheduleFaults(t *testing.T) {
	const terms = " or *, in lists (1,2), ranges from low to high (1-5) or steps (*/5)"
	const every = "@every needs a duration of whole seconds, 1s or more, such as 15s or 1m30s"
	const five = ", want 5 (minute, hour, day of month, month, day of week) or 6 with the second first"
	const never = "this schedule never fires: no day of the next five years fits it"
	tests := []struct{ spec, want string }{
		{"", "column 1: the schedule is empty"},
		{"   ", "column 4: the schedule is empty"},
		{"* * * *", "column 1: found 4 fields" + five},
		{" * * * * * * *", "column 2: found 7 fields" + five},
		{"hourly", "column 1: found 1 fields" + five},

		{"61 * * * *", `column 1: minute "61", want 0-59` + terms},
		{"* 24 * * *", `column 3: hour "24", want 0-23` + terms},
		{"* *  32 * *", `column 6: day of month "32", want 1-31` + terms},
		{"* * 0 * *", `column 5: day of month "0", want 1-31` + terms},
		{"* * * 13 *", `column 7: month "13", want 1-12 or jan-dec` + terms},
		{"* * * * 7", `column 9: day of week "7", want 0-6 or sun-sat` + terms},
		{"60 * * * * *", `column 1: second "60", want 0-59` + terms},
		{"* * * * * 7", `column 11: day of week "7", want 0-6 or sun-sat` + terms},
		{"  61 * * * *", `column 3: minute "61", want 0-59` + terms},
		{"\u00a061 * * * *", `column 2: minute "61", want 0-59` + terms},
		{"CRON_TZ=UTC 61 * * * *", `column 13: minute "61", want 0-59` + terms},

		{"-5 * * * *", `column 1: minute "-5", want 0-59` + terms},
		{"+5 * * * *", `column 1: minute "+5", want 0-59` + terms},
		{"5-1 * * * *", `column 1: minute "5-1", want 0-59` + terms},
		{"1-2-3 * * * *", `column 1: minute "1-2-3", want 0-59` + terms},
		{"*-5 * * * *", `column 1: minute "*-5", want 0-59` + terms},
		{"*/0 * * * *", `column 1: minute "*/0", want 0-59` + terms},
		{"*/ * * * *", `column 1: minute "*/", want 0-59` + terms},
		{"*/1/2 * * * *", `column 1: minute "*/1/2", want 0-59` + terms},
		{", * * * * *", `column 1: second ",", want 0-59` + terms},
		{"1,,2 * * * *", `column 1: minute "1,,2", want 0-59` + terms},
		{"* * * * %s%d", `column 9: day of week "%s%d", want 0-6 or sun-sat` + terms},
		{"99999999999999999999 * * * *", `column 1: minute "99999999999999999999", want 0-59` + terms},

		{"0 0 31 2 *", "column 1: " + never},
		{"CRON_TZ=UTC 0 0 30 feb *", "column 13: " + never},

		{"@every", "column 1: " + every},
		{"@every15s", "column 1: " + every},
		{"@every 15", "column 1: " + every},
		{"@every 0s", "column 1: " + every},
		{"@every -15s", "column 1: " + every},
		{"@every 999ms", "column 1: " + every},
		{"@every 1500ms", "column 1: " + every},
		{" @every 1m 30s", "column 2: " + every},
		{"@reboot", `column 1: unknown descriptor "@reboot", want @yearly, @monthly, @weekly, @daily, @hourly or @every 15s`},
		{"TZ=UTC @hourl", `column 8: unknown descriptor "@hourl", want @yearly, @monthly, @weekly, @daily, @hourly or @every 15s`},

		{"TZ=UTC", "column 7: a schedule must follow the time zone"},
		{"CRON_TZ=", "column 9: a schedule must follow the time zone"},
		{"CRON_TZ=UTC ", "column 13: the schedule is empty"},
		{"CRON_TZ= * * * * *", `column 9: unknown time zone "", want a name such as UTC or Europe/Berlin`},
		{"CRON_TZ=Mars/Base * * * * *", `column 9: unknown time zone "Mars/Base", want a name such as UTC or Europe/Berlin`},
		{" TZ=../zone * * * * *", `column 5: unknown time zone "../zone", want a name such as UTC or Europe/Berlin`},
	}
	for _, test := range tests {
		t.Run(test.spec, func(t *testing.T) {
			_, err := ParseSchedule(test.spec, scheduleNow)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

// FuzzParseSchedule checks that nothing panics or takes long, and that every accepted schedule fires.
func FuzzParseSchedule(f *testing.F) {
	for _, spec := range []string{
		"* * * * *", "*/15 * * * * *", "0 0 31 2 *", "@every 15s", "@every  1m", "@hourly", "@",
		"TZ=UTC", "CRON_TZ=", "CRON_TZ=UTC ", "TZ=UTC * * * * *", " CRON_TZ=Local @daily",
		", * * * * *", "*-5 * * * *", "?/7 1-5 jan-mar mon-fri,sun *", "30 2 29 3 *",
		"CRON_TZ=Australia/Lord_Howe 0 2 * * *", "CRON_TZ=America/Sao_Paulo 0 0 * * *", "CRON_TZ=Asia/Kathmandu 59 23 28-31 * *",
	} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		begin := time.Now()
		s, err := ParseSchedule(spec, scheduleNow)
		switch {
		case err != nil && !strings.HasPrefix(err.Error(), "column "):
			t.Errorf("error without a column: %v", err)
		case err == nil && !s.Next(scheduleNow).After(scheduleNow):
			t.Errorf("next is %v", s.Next(scheduleNow))
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
