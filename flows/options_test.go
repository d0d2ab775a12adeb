package flows

import "testing"

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Mode: "x"}, {Scope: "x"}, {MaxFlows: -1}, {MaxFlows: 1 << 30}} {
		if _, err := o.withDefaults(); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	if o, err := (Options{}).withDefaults(); err != nil || o.Mode != Auto || o.Scope != Host || o.MaxFlows != DefaultMaxFlows {
		t.Errorf("got %+v, %v", o, err)
	}
}
