package config

import (
	"fmt"
	"os"
	"reflect"
	"strconv"

	"github.com/kelseyhightower/envconfig"
)

// ProcessEnvironment returns the environment of this process. The variables of the list are read by envconfig.
func ProcessEnvironment() (Environment, error) {
	variables := Variables()
	fields := make([]reflect.StructField, len(variables))
	for i, v := range variables {
		fields[i] = reflect.StructField{
			Name: "Variable" + strconv.Itoa(i), Type: reflect.TypeFor[string](),
			Tag: reflect.StructTag(`envconfig:"` + v.Name + `"`),
		}
	}
	found := reflect.New(reflect.StructOf(fields))
	if err := envconfig.Process("", found.Interface()); err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	env := ParseEnvironment(os.Environ()) // all variables: Warnings looks for unknown ones
	for i, v := range variables {
		if value := found.Elem().Field(i).String(); value != "" {
			env[v.Name] = value
		}
	}
	return env, nil
}
