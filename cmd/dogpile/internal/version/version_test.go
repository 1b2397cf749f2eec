package version_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/version"
)

func TestLine(t *testing.T) {
	t.Parallel()
	info := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}
	rows := []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"installed", info("v1.2.3"), "dogpile v1.2.3"},
		{"built from a clean checkout", info("v1.2.4-0.20240506070809-0123456789ab", revision, debug.BuildSetting{Key: "vcs.modified", Value: "false"}),
			"dogpile v1.2.4-0.20240506070809-0123456789ab, revision 0123456789ab"},
		{"built from a changed checkout", info("(devel)", revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}),
			"dogpile (devel), revision 0123456789ab, modified"},
		{"short revision", info("(devel)", debug.BuildSetting{Key: "vcs.revision", Value: "42"}), "dogpile (devel), revision 42"},
		{"no version", info(""), "dogpile (unknown)"},
		{"nothing known", nil, "dogpile (unknown)"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			want := row.want + ", " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
			if got := version.Line(row.info); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
