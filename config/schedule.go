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

// cronFields are the fields of a cron spec in their order. The first one is optional.
var cronFields = []struct{ name, accepted string }{
	{"second", "0-59"},
	{"minute", "0-59"},
	{"hour", "0-23"},
	{"day of month", "1-31"},
	{"month", "1-12 or jan-dec"},
	{"day of week", "0-6 or sun-sat"},
}

var cronParser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Schedule is a cron spec: its text and its meaning.
type Schedule struct {
	Spec string
	cron.Schedule
}

// ParseSchedule parses a cron spec: five fields, or six with the seconds first, or @every and a duration of whole seconds,
// or a descriptor such as @hourly. CRON_TZ=zone may come before it. A spec that never fires after now is an error. An error
// has the field and the column of the fault, in characters from 1.
func ParseSchedule(spec string, now time.Time) (Schedule, error) {
	rest := strings.TrimLeftFunc(spec, unicode.IsSpace)
	column := func() int { return utf8.RuneCountInString(spec[:len(spec)-len(rest)]) + 1 }
	zone := ""
	if strings.HasPrefix(rest, "TZ=") || strings.HasPrefix(rest, "CRON_TZ=") {
		begin, end := strings.IndexByte(rest, '=')+1, strings.IndexFunc(rest, unicode.IsSpace)
		if end < 0 {
			// The library would panic.
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

// checkEvery rejects durations that are not whole seconds. The library would round them silently.
func checkEvery(spec string, column int) error {
	duration := strings.TrimPrefix(spec, "@every")
	d, err := time.ParseDuration(strings.TrimSpace(duration))
	spaced := strings.TrimLeftFunc(duration, unicode.IsSpace) != duration
	if !spaced || err != nil || d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("column %d: @every needs a duration of whole seconds, 1s or more, such as 15s or 1m30s", column)
	}
	return nil
}

// cronTerm is one member of the list in a field. The library also accepts wrong terms: for it, "*-5" means "*", and ","
// is a time that never comes, which takes it seconds to find out.
var cronTerm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([*?]|[A-Za-z0-9]+(-[A-Za-z0-9]+)?)(/[0-9]+)?$`)
})

// checkFields parses each field alone, so that the error can name the first wrong one.
func checkFields(spec string, column int) error {
	fields := strings.Fields(spec)
	missing := len(cronFields) - len(fields) // 1 without the seconds
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

// validField says whether field number i is valid.
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
