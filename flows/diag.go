package flows

import "errors"

func openDiag(o Options) (source, Source, error) {
	return nil, "", errors.New("todo")
}
