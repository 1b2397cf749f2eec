// Package version tells which dogpile this is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Line returns the version, the revision of the source and whether it was changed
// since, and with which Go it was built and for what. What info does not say is left
// out; info may be nil.
func Line(info *debug.BuildInfo) string {
	if info == nil {
		info = new(debug.BuildInfo)
	}
	parts := []string{"dogpile " + info.Main.Version}
	if info.Main.Version == "" {
		parts[0] = "dogpile (unknown)"
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		parts = append(parts, "revision "+revision[:min(12, len(revision))])
	}
	if settings["vcs.modified"] == "true" {
		parts = append(parts, "modified")
	}
	parts = append(parts, fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH))
	return strings.Join(parts, ", ")
}
