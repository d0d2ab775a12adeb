// Package cli has the commands. It makes a configuration from arguments and the environment, runs the daemon, and makes
// an exit code from the result.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"socktally/config"
	"socktally/daemon"
	"socktally/internal/environ"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // not delivered, or could not run
	exitUsage  = 2 // wrong usage or configuration
)

// usageError is a fault in the arguments or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Main runs the command that args name and returns the exit code.
func Main(args []string, stdout, stderr io.Writer, version string) int {
	root := Root(stdout, stderr, version)
	root.SetArgs(args)
	err := root.Execute()
	var usage usageError
	var findings exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &findings):
		return int(findings)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "socktally: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "socktally: %v\n", err)
		return exitFailed
	}
}

// Root returns the root command. The man page and the completions are made from it too.
func Root(stdout, stderr io.Writer, version string) *cobra.Command {
	root := &cobra.Command{
		Use:   "socktally",
		Short: "Tally a host's sockets and forward the numbers",
		Long: "socktally reads the kernel's socket counters on a schedule, counts who talks to whom, forwards both by\n" +
			"DogStatsD or HTTP, and answers Datadog's Cloud Network Monitoring API from what it keeps.",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q: see socktally --help", args[0])}
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(newRun(stdout, stderr, version), newOnce(stdout, stderr, version), newFlows(stdout, stderr),
		newConnections(stdout, stderr, version), newDNS(stdout, stderr, version), newDoctor(stdout), newVersion(stdout, version))
	return root
}

func newRun(stdout, stderr io.Writer, version string) *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Read on a schedule and forward, until told to stop",
		Long: "Read on the schedule of SOCKTALLY_SCHEDULE, the first time at once, and forward each reading;\n" +
			"tally flows on that of SOCKTALLY_FLOWS_SCHEDULE;\n" +
			"serve the API where SOCKTALLY_LISTEN or --listen has its address (docs/api.md).\n" +
			"SIGTERM or SIGINT delivers what is on its way and ends within 5 s; a second one ends at once.\n" +
			"SIGHUP reads SOCKTALLY_NETWORKS_FILE and the certificate of the API again.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := s.load()
			if err != nil {
				return err
			}
			d, err := newDaemon(cfg, stdout, stderr, version, slog.LevelDebug)
			if err != nil {
				return err
			}
			return runUntilSignal(d)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&s.listen, "listen", "", "host:port or unix:///path of the API; wins over SOCKTALLY_LISTEN")
	return cmd
}

// runUntilSignal runs d until the first SIGTERM or SIGINT, and then waits for the end of d. A second signal ends the wait.
// At SIGHUP, d reads its files again.
func runUntilSignal(d *daemon.Daemon) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	for running := true; running; {
		select {
		case err := <-ended:
			return err
		case <-hangups:
			d.Reload()
		case <-signals:
			stop()
			running = false
		}
	}
	select {
	case err := <-ended:
		return err
	case s := <-signals:
		return fmt.Errorf("stopped at once by a second signal: %v", s)
	}
}

func newOnce(stdout, stderr io.Writer, version string) *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "once",
		Short: "Take one reading, deliver it and end, for a crontab",
		Long: "Take one reading, deliver it and end. Nothing is printed on success.\n" +
			"The exit code is 0 if every sink took the reading or it is safe on disk to be sent by a later run,\n" +
			"1 if not, 2 for bad usage or configuration.",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := s.load()
			if err != nil {
				return err
			}
			cfg.Flows.Mode = "off" // a single reading has no flows
			// Cron sends a mail if anything is printed. A reading that is kept on disk is a success.
			d, err := newDaemon(cfg, stdout, stderr, version, slog.LevelError)
			if err != nil {
				return err
			}
			return d.Once()
		},
	}
	s.flags(cmd)
	return cmd
}

func newVersion(stdout io.Writer, version string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(stdout, "socktally %s (%s %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, found %q: see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}

// settings are the flags that set the configuration.
type settings struct {
	cmd     *cobra.Command
	envFile string
	forward string
	listen  string
}

// flags adds the flags of a command that forwards.
func (s *settings) flags(cmd *cobra.Command) {
	s.envFileFlag(cmd)
	cmd.Flags().StringVar(&s.forward, "forward", "", config.SinkList()+"; wins over SOCKTALLY_FORWARD")
}

func (s *settings) envFileFlag(cmd *cobra.Command) {
	s.cmd = cmd
	cmd.Flags().StringVar(&s.envFile, "env-file", config.DefaultEnvFile, "file of NAME=value lines; the environment wins over it")
}

// load loads the configuration of this process. Flags win over the environment, and that wins over the env file.
func (s *settings) load() (config.Config, error) {
	env, err := processEnvironment(s.envFile, s.cmd.Flags().Changed("env-file"))
	if err != nil {
		return config.Config{}, err
	}
	return s.check(env)
}

// processEnvironment returns the environment of this process, completed from the env file at path. The file may be missing
// unless mustExist. Variables of the file are also set in the process, because some libraries read them there.
func processEnvironment(path string, mustExist bool) (config.Environment, error) {
	env, err := config.ProcessEnvironment()
	if err != nil {
		return env, err
	}
	file, err := config.ReadEnvFile(path, mustExist)
	if err != nil {
		return env, usageError{err}
	}
	_, err = environ.Set(env.Complete(file))
	return env, err
}

// check makes the configuration from env. Flags win over it.
func (s *settings) check(env config.Environment) (config.Config, error) {
	if s.cmd.Flags().Changed("forward") {
		if s.forward == "" {
			return config.Config{}, usageError{errors.New("--forward is empty: want a " + config.SinkList())}
		}
		env["SOCKTALLY_FORWARD"] = s.forward
	}
	if s.listen != "" {
		env["SOCKTALLY_LISTEN"] = s.listen
	}
	cfg, err := config.Load(env.Lookup)
	if err != nil {
		return cfg, usageError{fmt.Errorf("bad configuration:\n%w", err)}
	}
	cfg.Warnings = append(cfg.Warnings, env.Warnings()...)
	return cfg, nil
}

// newDaemon makes a daemon with this configuration. It logs nothing below level.
func newDaemon(cfg config.Config, stdout, stderr io.Writer, version string, level slog.Level) (*daemon.Daemon, error) {
	log := newLogger(stderr, cfg, max(cfg.Log.Level, level))
	return daemon.New(cfg, log, daemon.Options{Stdout: stdout, Version: version})
}

// newLogger makes the logger and logs the warnings of cfg. After that it logs nothing below level.
func newLogger(w io.Writer, cfg config.Config, level slog.Level) *slog.Logger {
	var threshold slog.LevelVar
	threshold.Set(cfg.Log.Level)
	options := &slog.HandlerOptions{Level: &threshold}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if cfg.Log.Format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	log := slog.New(handler)
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	threshold.Set(level)
	return log
}
