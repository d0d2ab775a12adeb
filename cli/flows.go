package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"socktally/daemon"
	"socktally/flows"
)

const (
	defaultInterval = 2 * time.Second
	// The live table shows what happened in the last second.
	liveInterval = time.Second
	minInterval  = 100 * time.Millisecond
)

// flowsOptions are the flags of socktally flows.
type flowsOptions struct {
	settings settings
	once     bool
	json     bool
	interval time.Duration
}

func newFlows(stdout, stderr io.Writer) *cobra.Command {
	var o flowsOptions
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Show who talks to whom over TCP now",
		Long: "Show who talks to whom over TCP now, the most bytes first: in a terminal a table that is drawn\n" +
			"again each second and that q ends, with --once one interval as a table, with --json one JSON\n" +
			"object a line for each flow of each interval.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.interval < minInterval {
				return usageError{fmt.Errorf("--interval %v: want %v or more", o.interval, minInterval)}
			}
			live := !o.once && !o.json
			if live && !isTerminal(stdout) {
				return usageError{errors.New("the output is not a terminal: want --once or --json")}
			}
			if live && !cmd.Flags().Changed("interval") {
				o.interval = liveInterval
			}
			return o.run(stdout, stderr, live)
		},
	}
	o.settings.envFileFlag(cmd)
	cmd.Flags().BoolVar(&o.once, "once", false, "one interval, then end")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object a line instead of a table")
	cmd.Flags().DurationVar(&o.interval, "interval", defaultInterval, "how long an interval is (1s for the live table)")
	return cmd
}

func (o *flowsOptions) run(stdout, stderr io.Writer, live bool) error {
	cfg, err := o.settings.load()
	if err != nil {
		return err
	}
	if cfg.Flows == "off" {
		return usageError{errors.New("SOCKTALLY_FLOWS=\"off\": want auto, ebpf or sockdiag to see flows")}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	counter, err := flows.Open(daemon.FlowOptions(cfg))
	if err != nil {
		return err
	}
	defer counter.Close()
	log := newLogger(stderr, cfg, cfg.LogLevel)
	if !live {
		logSource(log, counter)
		defer logLosses(log, counter)
	}
	switch {
	case live:
		return showLive(ctx, counter, o.interval)
	case o.json:
		return eachInterval(ctx, counter, o.interval, o.once, func(records []flows.Record) error {
			lines := json.NewEncoder(stdout)
			for _, r := range records {
				if err := lines.Encode(r); err != nil {
					return fmt.Errorf("write flows: %w", err)
				}
			}
			return nil
		})
	default:
		return eachInterval(ctx, counter, o.interval, true, func(records []flows.Record) error {
			for _, line := range flowTable(records, terminalWidth(stdout)) {
				if _, err := fmt.Fprintln(stdout, line); err != nil {
					return fmt.Errorf("write flows: %w", err)
				}
			}
			return nil
		})
	}
}

// logSource says how flows are counted and, if not in the best way, why.
func logSource(log *slog.Logger, counter *flows.Counter) {
	attributes := []any{"source", string(counter.Source())}
	if why := counter.Refusal(); why != nil {
		attributes = append(attributes, "because", why.Error())
	}
	log.Info("flows are counted", attributes...)
}

// logLosses says what could not be counted.
func logLosses(log *slog.Logger, counter *flows.Counter) {
	losses, err := counter.Losses()
	if err != nil {
		log.Warn("losses cannot be read", "error", err)
	} else if losses != (flows.Losses{}) {
		log.Warn("not everything was counted as its own flow", "losses", fmt.Sprintf("%+v", losses))
	}
}

// eachInterval hands the records of each interval to show, the most bytes first, until ctx ends, or
// only one.
func eachInterval(ctx context.Context, counter *flows.Counter, interval time.Duration, once bool, show func([]flows.Record) error) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		records, err := tally(ctx, counter)
		if err != nil {
			return err
		}
		if err := show(records); err != nil || once {
			return err
		}
	}
}

// tally returns the records of an interval, the most bytes first.
func tally(ctx context.Context, counter *flows.Counter) ([]flows.Record, error) {
	records, err := counter.Tally(ctx)
	slices.SortFunc(records, func(a, b flows.Record) int {
		return cmp.Or(
			cmp.Compare(b.BytesSentByClient+b.BytesSentByServer, a.BytesSentByClient+a.BytesSentByServer),
			cmp.Compare(b.Established+b.Closed, a.Established+a.Closed),
			a.Server.Addr.Compare(b.Server.Addr),
			cmp.Compare(a.Server.Port, b.Server.Port),
			a.Client.Addr.Compare(b.Client.Addr),
			cmp.Compare(a.Client.Owner.PID, b.Client.Owner.PID),
		)
	})
	return records, err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth is the number of columns of w, or 0 if it is not a terminal.
func terminalWidth(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil {
		return 0
	}
	return width
}
