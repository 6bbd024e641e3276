# Stand-in for hashicorp/vault if no registry is reachable: the real Vault that the tests build, on busybox.
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin:/bin
VOLUME /vault/file
EXPOSE 8200
ENTRYPOINT ["vault"]
CMD ["server", "-dev"]
