// Package official has Datadog's own client judge what socktally sends and answers, which socktally makes of
// types of its own: every answer of the API and every payload for the intake are decoded into the client's
// models.
//
// It is apart from the other tests because that client takes minutes to compile.
package official

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"
)

// understood fails the test for each part of a model that the client could not place. Its decoders put that
// aside, in fields of two names, and report no error.
func understood(t *testing.T, model any) {
	t.Helper()
	for _, left := range leftAside("", reflect.ValueOf(model)) {
		t.Errorf("the client does not know %s", left)
	}
}

func leftAside(path string, v reflect.Value) (all []string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			all = leftAside(path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			all = append(all, leftAside(fmt.Sprintf("%s[%d]", path, i), v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			switch name := path + "." + field.Name; field.Name {
			case "UnparsedObject", "AdditionalProperties":
				if v.Field(i).Len() > 0 {
					all = append(all, fmt.Sprintf("%s: %v", name, v.Field(i)))
				}
			default:
				all = append(all, leftAside(name, v.Field(i))...)
			}
		}
	}
	return all
}

// TestJudge makes sure that it would find what is wrong, wherever that is.
func TestJudge(t *testing.T) {
	for body, want := range map[string]int{
		`{"data":[]}`: 0,
		`{"data":[{"attributes":{"group_bys":{"a":["b"]},"rtt_micro_seconds":1},"id":"a:b","type":"aggregated_connection"}]}`: 0,
		`{"data":[],"meta":{}}`:                                       1,
		`{"data":[{"name":"x"}]}`:                                     1,
		`{"data":[{"type":"another"}]}`:                               1,
		`{"data":[{},{"attributes":{"tcp_unheard_of":1}}]}`:           1,
		`{"data":[{"attributes":{"rtt_micro_seconds":"1"}},{"x":1}]}`: 2,
	} {
		model := datadogV2.NewSingleAggregatedConnectionResponseArray()
		if err := model.UnmarshalJSON([]byte(body)); err != nil {
			t.Fatal(err)
		}
		if left := leftAside("", reflect.ValueOf(model)); (len(left) > 0) != (want > 0) || len(left) < want {
			t.Errorf("%s: found %q, want %d", body, left, want)
		}
	}
}
