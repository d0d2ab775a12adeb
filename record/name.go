package record

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the largest length of a name in bytes. No valid name is longer: a path has less than 4096 bytes, a DNS name with
// all its escapes less than 1024, and a container's id, a tag or the name of a process much less.
const MaxName = 4096

// CleanName makes a name from outside valid: UTF-8, without control characters, at most MaxName bytes. Each run of bytes that
// are not UTF-8, or of control characters, becomes one U+FFFD, the replacement character. A valid name does not change. The
// code that writes a name to a tag or a terminal must check the rules there.
func CleanName(name string) string {
	if isClean(name) {
		return name
	}
	var b strings.Builder
	bad := false
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		wasBad := bad
		bad = r == utf8.RuneError && size == 1 || unicode.IsControl(r)
		text := name[i : i+size]
		if bad {
			text = string(utf8.RuneError)
		}
		i += size
		if bad && wasBad {
			continue
		}
		if b.Len()+len(text) > MaxName {
			break
		}
		b.WriteString(text)
	}
	return b.String()
}

func isClean(name string) bool {
	if len(name) > MaxName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' { // no plain ASCII
			return utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
		}
	}
	return true
}

// CutName returns the first bytes of a name, at most the given number. It cuts no character in two.
func CutName(name string, most int) string {
	if len(name) <= most {
		return name
	}
	// A character has at most four bytes. A text that is not UTF-8 may be cut anywhere.
	for n := most; n > 0 && n > most-utf8.UTFMax; n-- {
		if utf8.RuneStart(name[n]) {
			return name[:n]
		}
	}
	return name[:most]
}

// CleanNames cleans every name in the record. It does not change tags that other records share.
func (r *Flow) CleanNames() {
	r.Client.Owner.cleanNames()
	r.Server.Owner.cleanNames()
	r.ServerDomain = CleanName(r.ServerDomain)
}

// CleanNames cleans every name in the record. It does not change tags that other records share.
func (r *DNS) CleanNames() {
	r.Client.Owner.cleanNames()
	r.Server.Owner.cleanNames()
	r.Name, r.Type = CleanName(r.Name), CleanName(r.Type)
}

func (o *Owner) cleanNames() {
	for _, name := range [...]*string{&o.Process, &o.Service, &o.Env, &o.Version, &o.Cgroup, &o.ContainerID, &o.PodUID} {
		*name = CleanName(*name)
	}
	if slices.ContainsFunc(o.Tags, func(tag string) bool { return !isClean(tag) }) {
		o.Tags = slices.Clone(o.Tags)
		for i, tag := range o.Tags {
			o.Tags[i] = CleanName(tag)
		}
	}
}
