package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"socktally/config"
	"socktally/daemon"
	"socktally/doctor"
)

// exitCode is the exit code of doctor. It is an error without text, because the findings are printed already.
type exitCode int

func (exitCode) Error() string { return "" }

// doctorOptions are the flags of socktally doctor.
type doctorOptions struct {
	settings settings
	json     bool
	probe    bool
	interval time.Duration
	pid      int
}

func newDoctor(stdout io.Writer) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host allows, what is off and why, and what to do about it",
		Long: "Look at the kernel, the process's capabilities and namespaces, the settings, the receivers and what\n" +
			"waits on disk, and print one line for each, with one remedy where something is missing. The programs that\n" +
			"count flows are attached for a moment, unless --pid is given, to see what the kernel allows.\n" +
			"--probe also counts flows for --interval and shows DD_API_KEY to the intake.\n" +
			"The exit code is 0 if all is well, 1 if it works with less, 2 if it does not work.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.interval < minInterval {
				return usageError{fmt.Errorf("--interval %v: want %v or more", o.interval, minInterval)}
			}
			if o.pid < 0 {
				return usageError{fmt.Errorf("--pid %d: want the id of a process", o.pid)}
			}
			return o.run(stdout)
		},
	}
	o.settings.flags(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "a JSON array of findings instead of text")
	cmd.Flags().BoolVar(&o.probe, "probe", false, "count flows for --interval, and try DD_API_KEY")
	cmd.Flags().DurationVar(&o.interval, "interval", defaultInterval, "how long --probe counts flows")
	cmd.Flags().IntVar(&o.pid, "pid", 0, "look at what this process, such as the running service, may do and at its environment, instead of the own")
	return cmd
}

func (o *doctorOptions) run(stdout io.Writer) error {
	process, load := "self", o.settings.load
	if o.pid > 0 {
		process, load = strconv.Itoa(o.pid), o.loadOfProcess
	}
	cfg, err := load()
	if err != nil {
		return err
	}
	examine := doctor.Options{
		Proc: "/proc", Sys: "/sys", Process: process, Config: cfg,
		Attach: o.pid == 0, Probe: o.probe, Interval: o.interval, Now: time.Now(),
	}
	if cfg.Flows.On() {
		examine.Flows = daemon.FlowOptions(cfg)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	findings := doctor.Examine(ctx, examine)
	if err := printFindings(stdout, findings, o.json); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	if code := doctor.ExitCode(findings); code != 0 {
		return exitCode(code)
	}
	return nil
}

// loadOfProcess loads the configuration of the process --pid. Its environment wins over the env file.
func (o *doctorOptions) loadOfProcess() (config.Config, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(o.pid), "environ"))
	if err != nil {
		return config.Config{}, fmt.Errorf("read environment: %w", err)
	}
	env := config.ParseEnvironment(strings.Split(string(text), "\x00"))
	file, err := config.ReadEnvFile(o.settings.envFile, o.settings.cmd.Flags().Changed("env-file"))
	if err != nil {
		return config.Config{}, usageError{err}
	}
	env.Complete(file)
	return o.settings.check(env)
}

func printFindings(w io.Writer, findings []doctor.Finding, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(findings)
	}
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "%-4s  %-*s  %s\n", f.State, width, f.Check, f.Text); err != nil {
			return err
		}
		if f.Remedy == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%*s  -> %s\n", 6+width, "", f.Remedy); err != nil {
			return err
		}
	}
	return nil
}
