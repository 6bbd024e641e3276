# Stand-in for the official postgres:16-alpine if no registry is reachable: PostgreSQL 16 from npm, psql from
# Debian, busybox, and an entrypoint written from the documented contract of the official image.
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin:/bin PGDATA=/var/lib/postgresql/data LANG=C LD_LIBRARY_PATH=/usr/local/lib:/lib/host
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
