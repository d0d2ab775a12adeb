package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// cronFields are the fields of a cron spec in their order; the first is optional.
var cronFields = []struct{ name, accepted string }{
	{"second", "0-59"},
	{"minute", "0-59"},
	{"hour", "0-23"},
	{"day of month", "1-31"},
	{"month", "1-12 or jan-dec"},
	{"day of week", "0-6 or sun-sat"},
}

var cronParser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// ParseSchedule reads a cron spec: five fields, or six with seconds first, or @every and a duration
// of whole seconds, or a descriptor such as @hourly; each may follow CRON_TZ=zone. It refuses a spec
// that never fires after now. An error names the field and the column, counted from 1, of the fault.
func ParseSchedule(spec string, now time.Time) (cron.Schedule, error) {
	zone, rest := "", spec
	if strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=") {
		// The library panics on a zone with nothing after it.
		i := strings.IndexByte(spec, ' ')
		if i < 0 {
			return nil, fmt.Errorf("column %d: a schedule must follow the time zone", len(spec)+1)
		}
		zone, rest = spec[:i], spec[i:]
		name := zone[strings.IndexByte(zone, '=')+1:]
		if _, err := time.LoadLocation(name); err != nil || name == "" {
			return nil, fmt.Errorf("column %d: unknown time zone %q", len(zone)-len(name)+1, name)
		}
	}
	column := len(spec) - len(strings.TrimLeft(rest, " \t")) + 1
	rest = strings.TrimSpace(rest)

	var err error
	switch {
	case rest == "":
		err = fmt.Errorf("column %d: the schedule is empty", column)
	case strings.HasPrefix(rest, "@every"):
		err = checkEvery(rest, column)
	case rest[0] == '@':
		if _, parseErr := cronParser.Parse(rest); parseErr != nil {
			err = fmt.Errorf("column %d: unknown descriptor %q", column, rest)
		}
	default:
		err = checkFields(rest, column)
	}
	if err != nil {
		return nil, err
	}
	schedule, err := cronParser.Parse(strings.TrimSpace(zone + " " + rest))
	if err != nil {
		return nil, err
	}
	if schedule.Next(now).IsZero() {
		return nil, fmt.Errorf("column %d: this schedule never fires", column)
	}
	return schedule, nil
}

// checkEvery refuses what the library would quietly round: durations below or between seconds.
func checkEvery(spec string, column int) error {
	duration, found := strings.CutPrefix(spec, "@every ")
	d, err := time.ParseDuration(strings.TrimSpace(duration))
	if !found || err != nil || d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("column %d: @every needs a duration of whole seconds, 1s or more, such as 15s or 1m30s", column)
	}
	return nil
}

// checkFields parses each field on its own, so that the first bad one can be pointed at.
func checkFields(spec string, column int) error {
	fields := strings.Fields(spec)
	missing := len(cronFields) - len(fields) // 1 where the seconds are left out
	if missing != 0 && missing != 1 {
		return fmt.Errorf("column %d: found %d fields, want 5 (minute, hour, day of month, month, day of week) or 6 with the second first", column, len(fields))
	}
	offset := 0
	for i, field := range fields {
		offset += strings.Index(spec[offset:], field)
		alone := []string{"*", "*", "*", "*", "*", "*"}
		alone[i+missing] = field
		if _, err := cronParser.Parse(strings.Join(alone, " ")); err != nil {
			f := cronFields[i+missing]
			return fmt.Errorf("column %d: %s %q: %w (accepted: %s, *, lists, ranges, steps)", column+offset, f.name, field, err, f.accepted)
		}
		offset += len(field)
	}
	return nil
}
