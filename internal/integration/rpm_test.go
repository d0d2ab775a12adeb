package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testRPM installs, upgrades, verifies and erases the .rpm by the rpm of a Debian.
func (m *installation) testRPM(t *testing.T) {
	// This machine's rpm knows of no package, and so of no /bin/sh.
	rpm := "rpm --nodeps --dbpath /packages/rpmdb "
	m.do(t, "rpm -K --nosignature "+m.first+"/*.rpm; "+rpm+"-ivh "+m.first+"/*.rpm")
	m.wantState(t, "inactive", "disabled")
	if said := m.do(t, rpm+"-V socktally"); said != "" {
		t.Errorf("rpm -V: %s", said)
	}
	if err := os.WriteFile(filepath.Join(m.root, "etc/socktally/socktally.env"), []byte(adminSettings), 0o640); err != nil {
		t.Fatal(err)
	}
	m.do(t, "systemctl enable --now socktally")
	eventually(t, func() error {
		if out, err := m.try("cd /var/lib/socktally/spool/http && ls | grep -c ."); err != nil || len(out) == 1 && out < "3" {
			return errors.New("no three readings wait on the disk")
		}
		return nil
	})
	before, pid := m.kept(t), m.property(t, "MainPID")
	m.do(t, rpm+"-Uvh "+m.second+"/*.rpm")
	m.wantState(t, "active", "enabled")
	if m.property(t, "MainPID") == pid {
		t.Error("the process of the version before still runs")
	}
	m.checkKept(t, secondVersion, before)
	if said := m.do(t, rpm+"-V socktally || true"); !strings.HasSuffix(said, "c /etc/socktally/socktally.env") || strings.Count(said, "\n") > 0 {
		t.Errorf("rpm -V: %q, want only the settings to be changed", said)
	}
	m.do(t, rpm+"-e socktally")
	if said, _ := m.try("systemctl is-active socktally"); said != "inactive" {
		t.Errorf("the service is %s after the removal", said)
	}
	// rpm has no purge: state and changed settings stay.
	m.do(t, "test ! -e /usr/bin/socktally && test -f /etc/socktally/socktally.env.rpmsave && test -d /var/lib/private/socktally/spool")
}
