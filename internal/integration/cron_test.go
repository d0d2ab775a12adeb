package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testCron puts the sample where the documentation says, and waits for two minutes of a real cron. Its
// mail goes to a program of the test.
func (m *installation) testCron(t *testing.T) {
	m.do(t, "dpkg -i "+m.first+"/*.deb")
	const sendmail = "#!/bin/sh\n{ echo; cat; } >>/packages/mail\n"
	if err := os.WriteFile(filepath.Join(m.root, "usr/sbin/sendmail"), []byte(sendmail), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.root, "etc/socktally/socktally.env"), []byte(noTagsNoLine+"\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	before := m.lastReadings(t)
	m.do(t, `cp /usr/share/doc/socktally/examples/cron.d/socktally /etc/cron.d/
		echo '* * * * * root echo this is mailed' >/etc/cron.d/loud`)
	for wanted := before + 1; wanted <= before+2; wanted++ {
		within(t, patience+time.Minute, func() error {
			if now := m.readings(t); now != wanted {
				return fmt.Errorf("%v readings, want %v", now, wanted)
			}
			return nil
		})
	}
	mail := m.do(t, "cat /packages/mail")
	if !strings.Contains(mail, "this is mailed") || strings.Contains(mail, "socktally") {
		t.Errorf("cron mailed\n%s", mail)
	}
	if status := m.do(t, "journalctl --no-pager -u cron"); strings.Count(status, "socktally once") < 2 {
		t.Errorf("cron says\n%s", status)
	}
	m.do(t, "rm /etc/cron.d/socktally /etc/cron.d/loud; dpkg -P socktally")
	m.wantNothingLeft(t)
}
