package app

import "testing"

// Which account is meant is told by its project; where it is not, what to name
// is said.
func TestAccountOf(t *testing.T) {
	eu, us := Account{Project: "shop-eu"}, Account{Project: "shop-us"}
	tests := []struct {
		accounts []Account
		project  string
		want     string
	}{
		{[]Account{eu}, "", "shop-eu"},
		{[]Account{eu}, "shop-us", `invalid request: no account has the project key "shop-us"; they have shop-eu`},
		{[]Account{eu, us}, "shop-us", "shop-us"},
		{[]Account{eu, us}, "", "invalid request: there are several accounts; name the project of one (--project): shop-eu, shop-us"},
		{[]Account{eu, us}, "shop", `invalid request: no account has the project key "shop"; they have shop-eu, shop-us`},
	}
	for _, tt := range tests {
		a, err := accountOf(tt.accounts, tt.project)
		got := a.Project
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q of %s: %s\nwant %s", tt.project, keys(tt.accounts), got, tt.want)
		}
	}
}
