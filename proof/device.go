package main

import "context"

func deviceCut(ctx context.Context, p *prover) error { return skip("not yet") }
