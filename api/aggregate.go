package api

import (
	"context"
	"errors"
	"net/http"

	"socktally/query"
)

// aggregate answers a request to an endpoint.
func (s *Server) aggregate(a aggregation, r *http.Request) ([]byte, error) {
	q, err := a.asks().parseQuestion(r.URL.RawQuery, s.now())
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
			q.to = s.now() // so that the window has the records that Refresh just made
		}
	}
	response, err := a.answer(ctx, s.options.Source, query.NewRow(s.options.Hostname), &q, s.groups)
	return response, s.refusalOf(r, err)
}

// refusalOf returns the refusal for an error of an aggregation. It logs only a change between working and failing.
func (s *Server) refusalOf(r *http.Request, err error) error {
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
		return err // the client is gone
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusTooManyRequests, "the query took more than %v: %s", queryTime, less)
	}
	if !s.failing.Swap(true) {
		s.options.Log.Error("queries cannot be answered", "error", err)
	}
	return refuse(http.StatusInternalServerError, "the store cannot be read: the log says why")
}
