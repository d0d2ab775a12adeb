package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sys/unix"
)

// schedule reports when the next reading and the next tally are due.
func (e *examination) schedule() {
	tell := func(check, spec string, s cron.Schedule) {
		next := s.Next(e.Now)
		e.addOK(check, fmt.Sprintf("%s, next at %s", spec, next.Format(time.RFC3339)))
	}
	tell("schedule", e.Config.Schedule.Spec, e.Config.Schedule)
	if e.flowsOn() {
		tell("flows schedule", e.Config.Flows.Schedule.Spec, e.Config.Flows.Schedule)
	}
}

// unreadableDir is the folder in which a spool puts files that it cannot read.
const unreadableDir = "unreadable"

// spool checks what is kept on disk for each sink, and whether more can be written.
func (e *examination) spool() {
	if e.Config.Spool.MaxBytes == 0 {
		e.addOK("spool", "off, by SOCKTALLY_SPOOL_MAX_BYTES: what cannot be delivered at once is lost")
		return
	}
	root := filepath.Join(e.Config.StateDir, "spool")
	if at := nearestExisting(root); unix.Access(at, unix.W_OK) != nil {
		e.add("spool", Less, at+" cannot be written by this user: what cannot be delivered at once is lost", "give the folder to the user that socktally runs as, or set SOCKTALLY_STATE_DIR")
	}
	for _, sink := range e.Config.Forward {
		folder := filepath.Join(root, sink)
		if !exists(folder) {
			e.addOK("spool", sink+": nothing waits")
			continue
		}
		files, bytes, aside, oldest := 0, int64(0), 0, e.Now
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			switch {
			case err != nil: // it was delivered and removed just now
			case filepath.Base(filepath.Dir(path)) == unreadableDir:
				aside++
			case filepath.Ext(path) == ".spool":
				files, bytes = files+1, bytes+info.Size()
				if info.ModTime().Before(oldest) {
					oldest = info.ModTime()
				}
			}
			return nil
		})
		text := fmt.Sprintf("%s: %d files of %d bytes wait, at most %d bytes and %v", sink, files, bytes, e.Config.Spool.MaxBytes, e.Config.Spool.MaxAge)
		if files > 0 {
			text += fmt.Sprintf(", the oldest since %v", e.Now.Sub(oldest).Round(time.Second))
		}
		switch {
		case err != nil:
			e.add("spool", Less, sink+": "+err.Error(), "run doctor as root, or as the user that socktally runs as")
		case aside > 0:
			e.add("spool", Less, fmt.Sprintf("%s; %d are unreadable", text, aside), "look at "+filepath.Join(folder, unreadableDir)+" and delete it")
		default:
			e.addOK("spool", text)
		}
	}
}

// nearestExisting is path or, if it does not exist, the nearest parent that does.
func nearestExisting(path string) string {
	for !exists(path) && path != "/" {
		path = filepath.Dir(path)
	}
	return path
}

// store checks the file of the API's store.
func (e *examination) store() {
	path := filepath.Join(e.Config.StateDir, "socktally.db")
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Mode().IsRegular():
		e.addOK("store", fmt.Sprintf("%s has %d bytes", path, info.Size()))
	case err == nil:
		e.add("store", Less, path+" is no file", "move it away")
	case os.IsNotExist(err):
		e.addOK("store", "none")
	default:
		e.add("store", Less, err.Error(), "run doctor as root, or as the user that socktally runs as")
	}
}
