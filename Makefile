# What the project promises is checked by `make test`; `make bench` prints how
# fast it is beside others. Tests of backends need their servers, and Python with
# dogpile.cache; on Debian they are installed where that is allowed.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTFLAGS ?=
# A count, not a time: go test reports the end of a time as a failure now and then.
FUZZTIME    ?= 30000x
BENCHFLAGS  ?=

.PHONY: packages test vet race allocs fuzz bench demo

PACKAGES = redis-server redis-sentinel python3-dogpile.cache python3-redis python3-gdbm openssl \
  memcached python3-memcache python3-pylibmc python3-pymemcache sasl2-bin libsasl2-modules libsasl2-modules-db

test: packages vet race allocs fuzz

packages:
	@missing=; for p in $(PACKAGES); do \
	  dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; \
	done; \
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

# One package at a time: those with servers and processes load the machine alone.
race:
	go test -race -p 1 $(GOTESTFLAGS) ./...
	cd bench && go test -race $(GOTESTFLAGS) ./...

# The race detector allocates; what counts allocations runs without it.
allocs:
	go test $(GOTESTFLAGS) -run 'Alloc' ./...

fuzz:
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' . | sort); do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
	    echo "fuzz $$name in $$(dirname $$file)"; \
	    (cd $$(dirname $$file) && go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) .); \
	  done; \
	done

bench:
	cd bench && go run . $(BENCHFLAGS)

demo:
	go run ./cmd/dogpile demo
