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
	maxConnections = 128      // open at once, also idle ones
	maxGroups      = 50_000   // of one query; each takes about 300 bytes
	maxHeader      = 32 << 10 // bytes, with the request line
	headerTime     = 5 * time.Second
	queryTime      = 60 * time.Second
	answerTime     = 30 * time.Second // for writing the answer, after queryTime
	idleTime       = 60 * time.Second
	shutdownTime   = time.Second
)

// Options are the settings of a Server.
type Options struct {
	// Source holds the records.
	Source Source
	// Refresh, if set, is called before a query whose window ends now or later. It brings the Source up to date.
	Refresh func(context.Context)
	// Ready, if set, returns the reason why queries cannot be answered now, or nil.
	Ready func(context.Context) error
	// Hostname is the value of the host fields for an end on this host.
	Hostname string
	// Keys are the accepted keys. A query must have one of them. If there are none, no key is needed.
	Keys []string
	// LocalOnly says that the server listens on a loopback address. If there are also no keys, a request must name
	// localhost or a loopback address as its host.
	LocalOnly bool
	// TLS, if set, makes the server use TLS with these settings.
	TLS *tls.Config
	Log *slog.Logger
}

// Server answers queries. It is safe for concurrent use.
type Server struct {
	options Options
	keys    keys
	routes  http.Handler
	slots   chan struct{} // one for each running query
	failing atomic.Bool   // the last query failed because of the store
	groups  int           // most of one query
	now     func() time.Time
}

// New returns a Server. It does not listen yet.
func New(o Options) *Server {
	s := &Server{options: o, keys: hashKeys(o.Keys), slots: make(chan struct{}, maxQueries), groups: maxGroups, now: time.Now}
	s.routes = s.route(endpoints(record.Fields(), record.DNSFields()))
	return s
}

// Serve answers requests from l until ctx ends. Then running requests have one more second. Serve closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		TLSConfig:         s.options.TLS,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime, // there is no body to wait for
		WriteTimeout:      queryTime + answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		// Debug, because any client can cause these errors, and could fill the log.
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
