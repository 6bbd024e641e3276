# Stands in for oven/bun where no registry can be reached: Bun from npm on busybox, with the packages of the project in
# its cache, so that an image can be built from it without a network.
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin:/bin LD_LIBRARY_PATH=/lib/host BUN_INSTALL_CACHE_DIR=/bun-cache
ENTRYPOINT ["bun"]
