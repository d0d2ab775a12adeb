package config

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

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

// Schedule is when something is done: a cron spec as it is written, and its meaning.
type Schedule struct {
	Spec string
	cron.Schedule
}

// ParseSchedule reads a cron spec: five fields, or six with seconds first, or @every and a duration
// of whole seconds, or a descriptor such as @hourly; each may follow CRON_TZ=zone. It refuses a spec
// that never fires after now. An error names the field and the column of the fault, in characters
// from 1.
func ParseSchedule(spec string, now time.Time) (Schedule, error) {
	rest := strings.TrimLeftFunc(spec, unicode.IsSpace)
	column := func() int { return utf8.RuneCountInString(spec[:len(spec)-len(rest)]) + 1 }
	zone := ""
	if strings.HasPrefix(rest, "TZ=") || strings.HasPrefix(rest, "CRON_TZ=") {
		begin, end := strings.IndexByte(rest, '=')+1, strings.IndexFunc(rest, unicode.IsSpace)
		if end < 0 {
			// The library panics on this.
			return Schedule{}, fmt.Errorf("column %d: a schedule must follow the time zone", utf8.RuneCountInString(spec)+1)
		}
		if name := rest[begin:end]; name == "" || !knownZone(name) {
			return Schedule{}, fmt.Errorf("column %d: unknown time zone %q, want a name such as UTC or Europe/Berlin", column()+begin, name)
		}
		zone, rest = rest[:end], strings.TrimLeftFunc(rest[end:], unicode.IsSpace)
	}

	var err error
	switch {
	case rest == "":
		err = fmt.Errorf("column %d: the schedule is empty", column())
	case strings.HasPrefix(rest, "@every"):
		err = checkEvery(rest, column())
	case rest[0] == '@':
		if _, parseErr := cronParser.Parse(strings.TrimSpace(rest)); parseErr != nil {
			err = fmt.Errorf("column %d: unknown descriptor %q, want @yearly, @monthly, @weekly, @daily, @hourly or @every 15s", column(), rest)
		}
	default:
		err = checkFields(rest, column())
	}
	if err != nil {
		return Schedule{}, err
	}
	schedule, err := cronParser.Parse(strings.Join(strings.Fields(zone+" "+rest), " "))
	if err != nil {
		return Schedule{}, err
	}
	if schedule.Next(now).IsZero() {
		return Schedule{}, fmt.Errorf("column %d: this schedule never fires: no day of the next five years fits it", column())
	}
	return Schedule{Spec: spec, Schedule: schedule}, nil
}

func knownZone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil
}

// checkEvery refuses what the library would quietly round: durations below or between seconds.
func checkEvery(spec string, column int) error {
	duration := strings.TrimPrefix(spec, "@every")
	d, err := time.ParseDuration(strings.TrimSpace(duration))
	spaced := strings.TrimLeftFunc(duration, unicode.IsSpace) != duration
	if !spaced || err != nil || d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("column %d: @every needs a duration of whole seconds, 1s or more, such as 15s or 1m30s", column)
	}
	return nil
}

// cronTerm is one member of a field's list. The library takes more, and makes of it what nobody
// meant: "*-5" is "*", and "," is a time that never comes, for which it searches for seconds.
var cronTerm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([*?]|[A-Za-z0-9]+(-[A-Za-z0-9]+)?)(/[0-9]+)?$`)
})

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
		if !validField(field, i+missing) {
			f := cronFields[i+missing]
			return fmt.Errorf("column %d: %s %q, want %s or *, in lists (1,2), ranges from low to high (1-5) or steps (*/5)",
				column+utf8.RuneCountInString(spec[:offset]), f.name, field, f.accepted)
		}
		offset += len(field)
	}
	return nil
}

// validField says whether field number i may be as it is written.
func validField(field string, i int) bool {
	for term := range strings.SplitSeq(field, ",") {
		if !cronTerm().MatchString(term) {
			return false
		}
	}
	alone := []string{"*", "*", "*", "*", "*", "*"}
	alone[i] = field
	_, err := cronParser.Parse(strings.Join(alone, " "))
	return err == nil
}
