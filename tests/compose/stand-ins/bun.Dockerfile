# Stand-in for oven/bun if no registry is reachable: Bun from npm on busybox, with the project's packages in its cache,
# so that images can be built from it without a network.
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin:/bin LD_LIBRARY_PATH=/lib/host BUN_INSTALL_CACHE_DIR=/bun-cache
ENTRYPOINT ["bun"]
