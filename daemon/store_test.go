package daemon

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"socktally/config"
	"socktally/record"
	"socktally/store"
)

// TestStoreOfTheStateFolder checks that a later run has the records of an earlier one, and that only one daemon at a time
// can open the store.
func TestStoreOfTheStateFolder(t *testing.T) {
	cfg := config.Config{StateDir: filepath.Join(t.TempDir(), "state"), API: config.API{Retention: time.Hour}}
	log := slog.New(slog.DiscardHandler)
	first, err := openStore(cfg, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	flow := record.Flow{
		Protocol: "tcp", Direction: record.Outgoing, Client: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1")},
		Server: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.2"), Port: 443}, Counters: record.Counters{BytesSentByClient: 7},
	}
	if err := first.Add(now, []record.Flow{flow}, nil); err != nil {
		t.Fatal(err)
	}
	if s, err := openStore(cfg, log, nil); !errors.Is(err, store.ErrLocked) || s != nil || !strings.Contains(err.Error(), filepath.Join(cfg.StateDir, "socktally.db")) {
		t.Errorf("a second daemon has the store: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	again, err := openStore(cfg, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	var sum uint64
	err = again.Connections(t.Context(), now.Add(-time.Minute), now.Add(time.Minute), func(r *record.Flow) error {
		sum += r.BytesSentByClient
		return nil
	})
	if err != nil || sum != 7 {
		t.Errorf("%d bytes, %v", sum, err)
	}
}

// TestStoreWithoutAFolder checks that the store is in memory if its folder cannot be written, and that a line is logged.
func TestStoreWithoutAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log output
	s, err := openStore(config.Config{StateDir: filepath.Join(file, "state")}, slog.New(slog.NewTextHandler(&log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if lines := log.lines(""); len(lines) != 1 || !strings.Contains(lines[0], "in memory only") || !strings.Contains(lines[0], "not a directory") {
		t.Errorf("logged %q", lines)
	}
	if err := s.Add(time.Now(), []record.Flow{{}}, nil); err != nil {
		t.Error(err)
	}
}
