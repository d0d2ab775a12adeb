// Package doctor checks what a host allows socktally to do. For each finding it says what is wrong, why, and the one thing
// to do about it. It reads the proc and sys file systems and the settings, and attaches the tracer for a moment. Only a
// probe also counts flows and sends the key to the intake.
package doctor

import (
	"context"
	"path/filepath"
	"time"

	"socktally/config"
	"socktally/flows"
	"socktally/internal/finding"
	"socktally/internal/host"
)

// The types of package finding.
type (
	Finding = finding.Finding
	State   = finding.State
)

const (
	OK   = finding.OK
	Less = finding.Less
	Bad  = finding.Bad
)

// Options are what Examine looks at. Proc and Sys are where these file systems are mounted.
type Options struct {
	Proc, Sys string
	// Process is the process that is checked: its capabilities, seccomp filter, mounts and sockets. It is "self" or a
	// PID.
	Process string
	Config  config.Config
	// Flows are the settings for counting flows. With Attach, the programs are attached for a moment, to see what the
	// kernel allows. With Probe, they count for Interval, and the key is sent to the intake.
	Flows    flows.Options
	Attach   bool
	Probe    bool
	Interval time.Duration
	Now      time.Time
}

// Examine makes all checks. Each check comes after those that it depends on.
func Examine(ctx context.Context, o Options) []Finding {
	e := examination{Options: o, host: host.Reader{Proc: o.Proc, Sys: o.Sys, Process: o.Process}}
	e.kernel()
	e.processStatus()
	e.cgroup()
	e.namespace()
	e.sockstat()
	e.schedule()
	e.receivers(ctx)
	e.spool()
	e.store()
	if (o.Attach || o.Probe) && e.flowsOn() {
		e.flows(ctx)
	}
	return e.findings
}

// ExitCode is 0 if all is well, 1 if it works with less, 2 if it does not work.
func ExitCode(findings []Finding) int {
	code := 0
	for _, f := range findings {
		switch f.State {
		case Less:
			code = max(code, 1)
		case Bad:
			code = 2
		}
	}
	return code
}

// examination collects the findings.
type examination struct {
	Options
	host     host.Reader
	findings []Finding
}

func (e *examination) addOK(check, text string) { e.add(check, OK, text, "") }

func (e *examination) add(check string, state State, text, remedy string) {
	e.findings = append(e.findings, Finding{Check: check, State: state, Text: text, Remedy: remedy})
}

func (e *examination) flowsOn() bool { return e.Config.Flows.On() }

// processPath is a path below the folder of the process in /proc.
func (e *examination) processPath(name string) string {
	return filepath.Join(e.Proc, e.Process, name)
}
