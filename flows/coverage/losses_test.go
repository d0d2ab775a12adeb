package coverage

import (
	"reflect"
	"testing"
)

// Every loss has a reason, and each reason counts one loss only.
func TestReasonsOfLosses(t *testing.T) {
	var losses Losses
	v := reflect.ValueOf(&losses).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i + 1))
	}
	told := map[string]uint64{}
	losses.Since(Losses{}, func(reason string, n uint64) { told[reason] = n })
	if len(told) != v.NumField() {
		t.Errorf("%d of %d losses are told: %v", len(told), v.NumField(), told)
	}
	for reason, want := range map[string]uint64{
		"table_full": losses.TableFull, "dns_dropped": losses.DNSDropped, "unowned": losses.Unowned, "processes_missed": losses.ProcessesMissed,
	} {
		if told[reason] != want {
			t.Errorf("%s: %d are told, want %d", reason, told[reason], want)
		}
	}
	losses.Since(losses, func(reason string, n uint64) { t.Errorf("%d of %s are told again", n, reason) })
	sum := losses
	sum.Add(losses)
	if sum.DNSUntracked != 2*losses.DNSUntracked {
		t.Errorf("got %+v", sum)
	}
}
