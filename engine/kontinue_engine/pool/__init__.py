"""Internal. The supervisor's side of zygote and runners: start, feed, watch, replace and end them."""
