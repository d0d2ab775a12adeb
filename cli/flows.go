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
	"socktally/flows/coverage"
	"socktally/record"
)

const (
	defaultInterval = 2 * time.Second
	// The live table shows the last second.
	liveInterval = time.Second
	minInterval  = 100 * time.Millisecond
)

// flowsOptions are the flags of socktally flows.
type flowsOptions struct {
	settings settings
	once     bool
	json     bool
	dns      bool
	interval time.Duration
}

func newFlows(stdout, stderr io.Writer) *cobra.Command {
	var o flowsOptions
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Show who talks to whom now",
		Long: "Show who talks to whom over TCP and UDP now, the most bytes first: in a terminal a table that is\n" +
			"drawn again each second and that q ends, with --once one interval as a table, with --json one\n" +
			"JSON object a line for each flow of each interval. With --dns it is who asks for which names.",
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
	cmd.Flags().BoolVar(&o.dns, "dns", false, "DNS questions and what became of them instead of flows")
	cmd.Flags().DurationVar(&o.interval, "interval", defaultInterval, "how long an interval is (1s for the live table)")
	return cmd
}

func (o *flowsOptions) run(stdout, stderr io.Writer, live bool) error {
	cfg, err := o.settings.load()
	if err != nil {
		return err
	}
	if !cfg.Flows.On() {
		return usageError{errors.New("SOCKTALLY_FLOWS=\"off\": want auto, ebpf or sockdiag to see flows")}
	}
	switch {
	case o.dns && !cfg.Flows.UDP:
		return usageError{errors.New("SOCKTALLY_FLOWS_UDP=\"off\": want on to see DNS")}
	case o.dns && len(cfg.Flows.DNSPorts) == 0:
		return usageError{errors.New("SOCKTALLY_DNS_PORTS=\"none\": want ports to see DNS")}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	counter, err := flows.Open(daemon.FlowOptions(cfg))
	if err != nil {
		return err
	}
	defer counter.Close()
	for _, c := range counter.Coverage() {
		if o.dns && c.By == "" && (c.Part == coverage.UDP || c.Part == coverage.DNS) {
			return errors.New(c.String())
		}
	}
	log := newLogger(stderr, cfg, cfg.Log.Level)
	if !live {
		logSource(log, counter)
		defer logLosses(log, counter)
	}
	if o.dns {
		return show(ctx, listing[record.DNS]{"DNS questions", counter, dnsTable, counter.TallyDNS, (*record.DNS).CleanNames, compareDNS}, o, stdout, live)
	}
	return show(ctx, listing[record.Flow]{"flows", counter, flowTable, counter.Tally, (*record.Flow).CleanNames, compareFlows}, o, stdout, live)
}

// listing is what one command shows: the rows of an interval, their order and their table.
type listing[T any] struct {
	noun    string
	counter *flows.Counter
	table   table[T]
	count   func(context.Context) ([]T, error)
	clean   func(*T)
	compare func(a, b T) int
}

// tally returns the sorted rows of an interval, with valid names.
func (v listing[T]) tally(ctx context.Context) ([]T, error) {
	rows, err := v.count(ctx)
	for i := range rows {
		v.clean(&rows[i])
	}
	slices.SortFunc(rows, v.compare)
	return rows, err
}

func show[T any](ctx context.Context, v listing[T], o *flowsOptions, stdout io.Writer, live bool) error {
	if live {
		return showLive(ctx, v, o.interval)
	}
	print := func(rows []T) error {
		for _, line := range v.table.lines(rows, terminalWidth(stdout)) {
			if _, err := fmt.Fprintln(stdout, line); err != nil {
				return err
			}
		}
		return nil
	}
	if o.json {
		lines := json.NewEncoder(stdout)
		print = func(rows []T) error {
			for _, r := range rows {
				if err := lines.Encode(r); err != nil {
					return err
				}
			}
			return nil
		}
	}
	ticks := time.NewTicker(o.interval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		rows, err := v.tally(ctx)
		if err != nil {
			return err
		}
		if err := print(rows); err != nil {
			return fmt.Errorf("write %s: %w", v.noun, err)
		}
		if o.once || !o.json {
			return nil
		}
	}
}

// logSource logs how flows are counted and, if it is not the best way, why.
func logSource(log *slog.Logger, counter *flows.Counter) {
	log.Info("flows are counted", "source", string(counter.Source()))
	daemon.LogCoverage(log, counter.Coverage())
}

// logLosses logs what could not be counted.
func logLosses(log *slog.Logger, counter *flows.Counter) {
	losses, err := counter.Losses()
	if err != nil {
		log.Warn("losses cannot be read", "error", err)
	} else if losses != (coverage.Losses{}) {
		log.Warn("not everything was counted as its own flow", "losses", fmt.Sprintf("%+v", losses))
	}
}

// compareFlows orders flows by bytes, the most first.
func compareFlows(a, b record.Flow) int {
	return cmp.Or(
		cmp.Compare(b.BytesSentByClient+b.BytesSentByServer, a.BytesSentByClient+a.BytesSentByServer),
		cmp.Compare(b.Established+b.Closed, a.Established+a.Closed),
		a.Server.Addr.Compare(b.Server.Addr),
		cmp.Compare(a.Server.Port, b.Server.Port),
		a.Client.Addr.Compare(b.Client.Addr),
		cmp.Compare(a.Client.Owner.PID, b.Client.Owner.PID),
	)
}

// compareDNS orders DNS questions by requests, the most first.
func compareDNS(a, b record.DNS) int {
	return cmp.Or(
		cmp.Compare(b.Requests, a.Requests),
		cmp.Compare(b.Timeouts, a.Timeouts),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Type, b.Type),
		a.Server.Addr.Compare(b.Server.Addr),
		a.Client.Addr.Compare(b.Client.Addr),
		cmp.Compare(a.Client.Owner.PID, b.Client.Owner.PID),
	)
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
