// Package sinks has the table of sinks: how each is opened with its settings, and how its receiver is probed. A new sink
// needs its own package below forward, a row in this table, and a row in the table of package config.
package sinks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"socktally/config"
	"socktally/forward"
	"socktally/forward/dogstatsd"
	"socktally/forward/series"
	"socktally/internal/clock"
	"socktally/internal/finding"
)

// Sink is one kind of receiver.
type Sink struct {
	// Name is the name in SOCKTALLY_FORWARD, and that of the forward.Sink.
	Name string
	// Open makes the sink. Its receiver need not exist yet.
	Open func(config.Config, Program) (forward.Sink, error)
	// Probe checks the receiver without sending a sample.
	Probe func(context.Context, config.Config, Probing) []finding.Finding
}

// Program is what a sink needs to know about the program that opens it.
type Program struct {
	// Stdout is where the sink stdout writes.
	Stdout io.Writer
	// Version names this build.
	Version string
	Clock   clock.Clock // the machine's if nil
}

// Probing is how receivers are probed.
type Probing struct {
	// ProcessDir is the folder in /proc of the process with these settings. Other says that it is another process than
	// this one.
	ProcessDir string
	Other      bool
	// ShowKey sends the key to the intake.
	ShowKey bool
}

// All returns the sinks in the order of the documentation.
func All() []Sink {
	return []Sink{
		{"dogstatsd", openDogStatsD, probeDogStatsD},
		{"http", openHTTP, probeHTTP},
		{"stdout", openStdout, probeStdout},
	}
}

// Lookup returns the sink with a name.
func Lookup(name string) (Sink, error) {
	var known []string
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
		known = append(known, s.Name)
	}
	return Sink{}, fmt.Errorf("unknown sink %q: want one of %s", name, strings.Join(known, ", "))
}

func openDogStatsD(cfg config.Config, p Program) (forward.Sink, error) {
	return dogstatsd.New(cfg.DogStatsD.Address.Network, cfg.DogStatsD.Address.Target, dogStatsDOptions(cfg, p))
}

func openStdout(cfg config.Config, p Program) (forward.Sink, error) {
	return dogstatsd.NewWriter("stdout", p.Stdout, dogStatsDOptions(cfg, p))
}

func dogStatsDOptions(cfg config.Config, p Program) dogstatsd.Options {
	o := dogstatsd.Options{Tags: cfg.Tags, Clock: p.Clock}
	if cfg.HostnameGiven {
		// Otherwise the receiving Agent adds its own host.
		o.Tags = append([]string{"host:" + cfg.Hostname}, cfg.Tags...)
	}
	return o
}

func probeDogStatsD(ctx context.Context, cfg config.Config, p Probing) []finding.Finding {
	return []finding.Finding{dogstatsd.Probe(ctx, cfg.DogStatsD.Address.Network, cfg.DogStatsD.Address.Target, p.ProcessDir)}
}

func probeStdout(context.Context, config.Config, Probing) []finding.Finding {
	return []finding.Finding{{Check: "receiver", State: finding.OK, Text: "the standard output"}}
}

func openHTTP(cfg config.Config, p Program) (forward.Sink, error) {
	return series.New(seriesOptions(cfg, p)), nil
}

func seriesOptions(cfg config.Config, p Program) series.Options {
	return series.Options{
		URL:       cfg.HTTP.URL,
		APIKey:    string(cfg.HTTP.APIKey),
		Host:      cfg.Hostname,
		Tags:      cfg.Tags,
		UserAgent: "socktally/" + p.Version,
		Clock:     p.Clock,
	}
}

func probeHTTP(ctx context.Context, cfg config.Config, p Probing) []finding.Finding {
	proxy := http.ProxyFromEnvironment
	if p.Other {
		proxy = func(r *http.Request) (*url.URL, error) { return proxyOfOther(cfg, r) }
	}
	return series.Probe(ctx, seriesOptions(cfg, Program{}), p.ShowKey, proxy)
}

// proxyOfOther is the proxy for a request by HTTPS_PROXY of another process.
func proxyOfOther(cfg config.Config, r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" || cfg.HTTP.Proxy == "" {
		return nil, nil
	}
	return url.Parse(string(cfg.HTTP.Proxy))
}
