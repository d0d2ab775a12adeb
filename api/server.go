package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"socktally/api/answer"
	"socktally/record"
)

// The paths of the two aggregations.
const (
	ConnectionsPath = answer.ConnectionsPath
	DNSPath         = answer.DNSPath
)

// Limits of a server.
const (
	maxQueries     = 4        // at once
	maxConnections = 128      // that are open, used or not
	maxGroups      = 50_000   // of one query, each some 300 bytes
	maxHeader      = 32 << 10 // bytes, the line with the query included
	headerTime     = 5 * time.Second
	queryTime      = 60 * time.Second
	answerTime     = 30 * time.Second // for writing it, after that
	idleTime       = 60 * time.Second
	shutdownTime   = time.Second
)

// Options are the settings of a Server.
type Options struct {
	// Source holds the records.
	Source Source
	// Refresh, if set, is called before a query of which the window reaches the present, so that the
	// Source has what happened up to now.
	Refresh func(context.Context)
	// Ready, if set, says why queries cannot be answered now.
	Ready func(context.Context) error
	// Hostname is what an end on this host has as its host.
	Hostname string
	// Keys are those of which a query must carry one; none if empty.
	Keys []string
	// LocalOnly says that the server is at a loopback address, so that, without keys, it takes requests
	// only for such a host.
	LocalOnly bool
	// TLS, if set, is what to speak.
	TLS *tls.Config
	Log *slog.Logger
}

// Server answers queries. It is safe for concurrent use.
type Server struct {
	options Options
	keys    keys
	routes  http.Handler
	slots   chan struct{} // one for each query that runs
	failing atomic.Bool   // the last query could not be read
	groups  int           // of one query at most
	now     func() time.Time
}

// New returns a Server that listens nowhere yet.
func New(o Options) *Server {
	s := &Server{options: o, keys: hashKeys(o.Keys), slots: make(chan struct{}, maxQueries), groups: maxGroups, now: time.Now}
	s.routes = s.route(endpoints(record.Fields(), record.DNSFields()))
	return s
}

// Serve answers what comes in at l until ctx ends, then gives the answers under way a second. It
// closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		TLSConfig:         s.options.TLS,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime, // there is no body to wait for
		WriteTimeout:      queryTime + answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		// What a stranger sends is not worth a line each.
		ErrorLog: slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
	}
	l = netutil.LimitListener(l, maxConnections)
	served := make(chan error, 1)
	go func() {
		if s.options.TLS != nil {
			served <- server.ServeTLS(l, "", "")
		} else {
			served <- server.Serve(l)
		}
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		_ = server.Close()
	}
	<-served
	return nil
}
