package node

import (
	"kubesolo.io/os/solonode/internal/addons"
	"kubesolo.io/os/solonode/internal/options"
)

// portainer is the Edge agent that the options ask for.
func portainer(opts options.Options) addons.Portainer {
	return addons.Portainer{
		ID: opts.PortainerEdgeID, Key: opts.PortainerEdgeKey,
		Async: opts.PortainerEdgeAsync, Image: opts.PortainerEdgeImage,
	}
}
