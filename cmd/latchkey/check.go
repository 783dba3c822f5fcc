package main

import (
	"context"
	"errors"

	"github.com/latchkey-idp/latchkey/internal/server"
)

func (d demoCmd) check(context.Context, *server.Config, terminal) error { return errors.New("not yet") }
