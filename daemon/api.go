package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"socktally/api"
	"socktally/config"
	"socktally/store"
)

// readAPI is the API and its store. A nil readAPI stores nothing and does not serve.
type readAPI struct {
	log         *slog.Logger
	cfg         config.API
	listener    net.Listener
	store       recordStore
	server      *api.Server
	certificate atomic.Pointer[tls.Certificate]

	// Used by one tally at a time.
	addError lastError
	added    int         // records, since the last samples
	stats    store.Stats // of the last samples
}

// startAPI serves the API until ctx ends. If the server fails before that, end gets the error. The returned channel is
// closed when the server has ended.
func (d *Daemon) startAPI(ctx context.Context, end context.CancelCauseFunc) (<-chan struct{}, error) {
	served := make(chan struct{})
	if d.cfg.API.Listen.Network == "" {
		close(served)
		return served, nil
	}
	a, err := d.openAPI()
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(served)
		end(a.serve(ctx))
	}()
	return served, nil
}

// openAPI binds the address and then opens the store.
func (d *Daemon) openAPI() (*readAPI, error) {
	a := &readAPI{log: d.log, cfg: d.cfg.API}
	o := api.Options{Hostname: d.cfg.Hostname, LocalOnly: a.cfg.Loopback, Log: d.log}
	for _, key := range a.cfg.Keys {
		o.Keys = append(o.Keys, string(key))
	}
	if a.cfg.TLSCert != "" {
		if err := a.loadCertificate(); err != nil {
			return nil, err
		}
		o.TLS = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.certificate.Load(), nil },
		}
	}
	var err error
	if a.listener, err = api.Listen(a.cfg.Listen.Network, a.cfg.Listen.Target); err != nil {
		return nil, fmt.Errorf("open the API: %w", err)
	}
	if a.store, err = d.openStore(d.cfg, d.log, d.clock); err != nil {
		_ = a.listener.Close()
		return nil, err
	}
	o.Source, o.Ready = a.store, a.store.Ready
	if d.flows != nil {
		d.flows.setAPI(a)
		o.Refresh = d.flows.refresh
	}
	a.server = api.New(o)
	d.api.Store(a)
	return a, nil
}

func (f *flowTally) setAPI(a *readAPI) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.api = a
}

// serve serves until ctx ends.
func (a *readAPI) serve(ctx context.Context) error {
	a.log.Info("the API is served", "address", a.listener.Addr().String(), "keys", len(a.cfg.Keys), "tls", a.cfg.TLSCert != "",
		"retention", a.cfg.Retention.String())
	return a.server.Serve(ctx, a.listener)
}

// close closes the store. The last tally and the last query must have ended.
func (a *readAPI) close() {
	if a == nil {
		return
	}
	if err := a.store.Close(); err != nil {
		a.log.Warn("closing the store failed", "error", err)
	}
}

func (a *readAPI) loadCertificate() error {
	pair, err := tls.LoadX509KeyPair(a.cfg.TLSCert, a.cfg.TLSKey)
	if err != nil {
		return fmt.Errorf("read certificate %s: %w", a.cfg.TLSCert, err)
	}
	a.certificate.Store(&pair)
	return nil
}

// reload reads the certificate again.
func (a *readAPI) reload() {
	if a == nil || a.cfg.TLSCert == "" {
		return
	}
	if err := a.loadCertificate(); err != nil {
		a.log.Warn("the certificate stays as it was", "error", err)
		return
	}
	a.log.Info("the certificate is read again", "file", a.cfg.TLSCert)
}
