# Stands in for hashicorp/vault where no registry can be reached: the real Vault that the tests build, on busybox.
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin:/bin
VOLUME /vault/file
EXPOSE 8200
ENTRYPOINT ["vault"]
CMD ["server", "-dev"]
