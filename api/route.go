package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"socktally/api/answer"
)

// route is one path of the server. Its methods are GET and HEAD.
type route struct {
	path string
	open bool // needs no key
	// respond returns JSON.
	respond func(*http.Request) ([]byte, error)
}

// route returns the handler for all paths: the endpoints and the health of the server.
func (s *Server) route(all []aggregation) http.Handler {
	var routes []route
	for _, a := range all {
		routes = append(routes, route{path: a.where(), respond: func(r *http.Request) ([]byte, error) { return s.aggregate(a, r) }})
	}
	routes = append(routes, route{"/healthz", true, s.health}, route{"/readyz", true, s.ready})

	mux := http.NewServeMux()
	var paths []string
	for _, to := range routes {
		paths = append(paths, to.path)
		mux.Handle("GET "+to.path, s.handler(func(r *http.Request) ([]byte, error) {
			if !to.open {
				if err := s.keys.admit(r); err != nil {
					return nil, refusal{http.StatusForbidden, err}
				}
			}
			return to.respond(r)
		}))
		mux.Handle(to.path, s.handler(func(r *http.Request) ([]byte, error) {
			return nil, refuse(http.StatusMethodNotAllowed, "method %s: want GET", shorten(r.Method))
		}))
	}
	missing := s.handler(func(r *http.Request) ([]byte, error) {
		return nil, refuse(http.StatusNotFound, "nothing is at %s: want one of %s", shorten(r.URL.Path), strings.Join(paths, ", "))
	})
	mux.Handle("/", missing)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// For a path such as //healthz the mux would send a redirect, which is not JSON.
		if asked := r.URL.EscapedPath(); asked != path.Clean("/"+asked) {
			missing.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) health(*http.Request) ([]byte, error) { return []byte(`{"status":"ok"}`), nil }

func (s *Server) ready(r *http.Request) ([]byte, error) {
	if s.options.Ready != nil {
		if err := s.options.Ready(r.Context()); err != nil {
			return nil, refuse(http.StatusServiceUnavailable, "not ready: %w", err)
		}
	}
	return []byte(`{"status":"ready"}`), nil
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
	if s.options.LocalOnly && len(s.keys) == 0 {
		if err := checkHost(r); err != nil {
			s.writeError(w, refusal{http.StatusForbidden, err})
			return
		}
	}
	s.routes.ServeHTTP(w, r)
}

// handler returns a handler that sends the result of respond.
func (s *Server) handler(respond func(*http.Request) ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := respond(r)
		if err != nil {
			s.writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here means that the client is gone, and nobody can be told.
	_, _ = w.Write(append(body, '\n'))
}

// refusal is an error with its HTTP status.
type refusal struct {
	status int
	error
}

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Errorf(format, args...)}
}

// writeError sends an error in the form of Datadog's API. It has one entry for each error that err joins.
func (s *Server) writeError(w http.ResponseWriter, err error) {
	refused := refusal{http.StatusInternalServerError, err}
	errors.As(err, &refused)
	h := w.Header()
	switch refused.status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD")
	case http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
		h.Set("X-RateLimit-Reset", "1") // in seconds; the official clients read it before they try again
	}
	body, err := json.Marshal(answer.Errors{Errors: strings.Split(refused.Error(), "\n")})
	if err != nil {
		body = []byte(`{"errors":["internal error"]}`)
	}
	writeJSON(w, refused.status, body)
}
