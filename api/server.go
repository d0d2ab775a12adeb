package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"socktally/api/answer"
)

// The paths that are served.
const (
	ConnectionsPath = answer.ConnectionsPath
	DNSPath         = answer.DNSPath
	healthPath      = "/healthz"
	readyPath       = "/readyz"
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
	slots   chan struct{} // one for each query that runs
	failing atomic.Bool   // the last query could not be read
	groups  int           // of one query at most
	now     func() time.Time
}

// New returns a Server that listens nowhere yet.
func New(o Options) *Server {
	return &Server{options: o, keys: hashKeys(o.Keys), slots: make(chan struct{}, maxQueries), groups: maxGroups, now: time.Now}
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

// refusal is an error with the status that it is answered by.
type refusal struct {
	status int
	error
}

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Errorf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	defer func() {
		if fault := recover(); fault != nil {
			s.options.Log.Error("a request made the API panic", "path", r.URL.Path, "panic", fmt.Sprint(fault))
			s.writeError(w, refuse(http.StatusInternalServerError, "internal error: the log says which"))
		}
	}()
	response, err := s.respond(w, r)
	if err != nil {
		s.writeError(w, err)
		return
	}
	body, err := json.Marshal(response)
	if err != nil {
		s.writeError(w, fmt.Errorf("encode the answer: %w", err))
		return
	}
	writeJSON(w, http.StatusOK, body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Whoever asked may have gone.
	_, _ = w.Write(append(body, '\n'))
}

// writeError answers with what Datadog's API has for errors, one entry for each that err joins.
func (s *Server) writeError(w http.ResponseWriter, err error) {
	refused := refusal{http.StatusInternalServerError, err}
	errors.As(err, &refused)
	if refused.status == http.StatusTooManyRequests {
		h := w.Header()
		h.Set("Retry-After", "1")
		h.Set("X-RateLimit-Reset", "1") // what the official clients look at
	}
	body, err := json.Marshal(answer.Errors{Errors: strings.Split(refused.Error(), "\n")})
	if err != nil {
		body = []byte(`{"errors":["internal error"]}`)
	}
	writeJSON(w, refused.status, body)
}

// status is the answer to a question after health.
type status struct {
	Status string `json:"status"`
}

// respond returns what to encode as JSON.
func (s *Server) respond(w http.ResponseWriter, r *http.Request) (any, error) {
	if s.options.LocalOnly && len(s.keys) == 0 {
		if err := checkHost(r); err != nil {
			return nil, refusal{http.StatusForbidden, err}
		}
	}
	paths := []string{ConnectionsPath, DNSPath, healthPath, readyPath}
	if !slices.Contains(paths, r.URL.Path) {
		return nil, refuse(http.StatusNotFound, "nothing is at %s: want one of %s", shorten(r.URL.Path), strings.Join(paths, ", "))
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return nil, refuse(http.StatusMethodNotAllowed, "method %s: want GET", shorten(r.Method))
	}
	switch r.URL.Path {
	case healthPath:
		return status{"ok"}, nil
	case readyPath:
		if s.options.Ready != nil {
			if err := s.options.Ready(r.Context()); err != nil {
				return nil, refuse(http.StatusServiceUnavailable, "not ready: %w", err)
			}
		}
		return status{"ready"}, nil
	}
	if err := s.keys.admit(r); err != nil {
		return nil, refusal{http.StatusForbidden, err}
	}
	return s.query(r)
}

// query answers one of the two aggregations.
func (s *Server) query(r *http.Request) (any, error) {
	names := fields{host: s.options.Hostname, kind: connections}
	if r.URL.Path == DNSPath {
		names.kind = dnsQueries
	}
	q, err := names.parseQuestion(r.URL.RawQuery, s.now())
	if err != nil {
		return nil, refusal{http.StatusBadRequest, err}
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return nil, refuse(http.StatusTooManyRequests, "%d queries are being answered, the most at once: ask again later", maxQueries)
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	if q.now && s.options.Refresh != nil {
		s.options.Refresh(ctx)
		if q.to.Before(s.now()) {
			q.to = s.now() // what is of this very moment is behind a window that ended before it
		}
	}
	var response any
	if names.kind == dnsQueries {
		g, queryErr := aggregateDNS(ctx, s.options.Source, &q, s.groups)
		if err = queryErr; err == nil {
			response = dnsAnswer(g, q.limit)
		}
	} else {
		g, queryErr := aggregateConnections(ctx, s.options.Source, &q, s.groups)
		if err = queryErr; err == nil {
			response = connectionAnswer(g, q.limit)
		}
	}
	return response, s.judge(r, err)
}

// judge turns the error of an aggregation into a refusal.
func (s *Server) judge(r *http.Request, err error) error {
	const less = "want a shorter window, fewer names to group by, or a filter"
	switch {
	case err == nil:
		if s.failing.Swap(false) {
			s.options.Log.Info("queries are answered again")
		}
		return nil
	case errors.Is(err, errTooMany):
		return refuse(http.StatusTooManyRequests, "%w: %s", err, less)
	case r.Context().Err() != nil:
		return err // nobody waits for it
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusTooManyRequests, "the query took more than %v: %s", queryTime, less)
	}
	if !s.failing.Swap(true) {
		s.options.Log.Error("queries cannot be answered", "error", err)
	}
	return refuse(http.StatusInternalServerError, "the store cannot be read: the log says why")
}
