# What the project promises is checked by `make test`; `make bench` prints how
# fast it is in comparison with others. Tests of backends need their servers, and
# Python with dogpile.cache, Chromium, and Node, for the public tests of HTTP caches; on Debian they
# are installed where that is allowed.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTFLAGS ?=
# A count, not a time: go test reports the end of a time as a failure now and then.
FUZZTIME    ?= 30000x
BENCHFLAGS  ?=

.PHONY: packages test vet race 386 allocs fuzz bench demo

PACKAGES = redis-server redis-sentinel python3-dogpile.cache python3-redis python3-gdbm openssl \
  memcached python3-memcache python3-pylibmc python3-pymemcache sasl2-bin libsasl2-modules libsasl2-modules-db chromium

test: packages vet race 386 allocs fuzz

packages:
	@missing=; for p in $(PACKAGES); do \
	  dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; \
	done; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q; apt-get install -y --no-install-recommends $$missing; \
	  else \
	    echo "to be installed, if tests fail for want of it:$$missing"; \
	  fi; \
	fi

vet:
	go vet ./...
	cd bench && go vet ./...
	go run $(STATICCHECK) ./...
	cd bench && go run $(STATICCHECK) ./...

# Tests with servers, processes or races load the machine: one package at a time. The
# others run side by side. go vet has seen all of them by then.
HEAVY = /backend/ -e /dashboard -e /cmd/ -e /drivertest -e /plugin/httpcache -e /examples/

# By default every process under the race detector sleeps for a second at its end.
race: export GORACE = atexit_sleep_ms=0

race:
	go test -race -vet=off $(GOTESTFLAGS) $$(go list ./... | grep -v -e $(HEAVY))
	go test -race -vet=off -p 1 $(GOTESTFLAGS) $$(go list ./... | grep -e $(HEAVY))
	cd bench && go test -race -vet=off $(GOTESTFLAGS) ./...

# An int has 32 bits here. There is no race detector for it.
CORE = . ./lock/... ./driver/... ./internal/...

386:
	@if [ "$$(go env GOHOSTOS)/$$(go env GOHOSTARCH)" = linux/amd64 ]; then set -ex; \
	  GOARCH=386 go vet ./...; \
	  GOARCH=386 go test -vet=off -p 1 $(GOTESTFLAGS) $$(go list $(CORE) | grep -v /fleettest); \
	else \
	  echo "GOARCH=386 is left out: it runs on linux/amd64 only"; \
	fi

# The race detector allocates; what counts allocations runs without it.
allocs:
	go test -vet=off $(GOTESTFLAGS) -run Alloc $$(grep -rl --include='*_test.go' '^func Test.*Alloc' . | \
	  grep -v '^./bench/' | xargs -n 1 dirname | sort -u)

fuzz:
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' . | sort); do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
	    echo "fuzz $$name in $$(dirname $$file)"; \
	    (cd $$(dirname $$file) && go test -vet=off -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) .); \
	  done; \
	done

bench:
	cd bench && go run . $(BENCHFLAGS)

demo:
	go run ./cmd/dogpile demo
